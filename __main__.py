"""Kopano on Docker: settings -> components -> stack outputs."""

import pulumi
import pulumi_docker as docker

from components import outputs, settings
from components.blocks import BLOCKS
from components.core import Core, CoreArgs, DatabaseAccess, DirectoryAccess
from components.db import Database, DatabaseArgs
from components.frontends import Frontends, FrontendsArgs
from components.images import Images, ImagesArgs, reference
from components.ldap import Directory, DirectoryArgs
from components.network import Networks, NetworksArgs
from components.ssl import Ssl, SslArgs
from components.web import Web, WebArgs

config = settings.load()
on_host = pulumi.ResourceOptions(providers=[docker.Provider("docker")])

images = Images("images", ImagesArgs({block: reference(config, block) for block in BLOCKS}), on_host)
networks = Networks("networks", NetworksArgs(config.prefix, config.stack), on_host)
ssl = Ssl("ssl", SslArgs(config, images.ids["ssl"]), on_host)
db = Database("db", DatabaseArgs(config, images.ids["db"], networks.kopano), on_host)
ldap = Directory("ldap", DirectoryArgs(config, images.ids["ldap"], networks.ldap), on_host)
core = Core(
    "core",
    CoreArgs(
        settings=config,
        image=images.ids["server"],
        kopano_network=networks.kopano,
        web_network=networks.web,
        ldap_network=networks.ldap,
        server_keys=ssl.bundles["server"],
        database=DatabaseAccess(db.host, db.port, db.database, db.user, db.password),
        directory=DirectoryAccess(ldap.uri, ldap.base_dn, ldap.bind_dn, ldap.bind_password),
    ),
    on_host,
)
frontends = Frontends(
    "frontends",
    FrontendsArgs(
        settings=config,
        webapp_image=images.ids["webapp"],
        kopano_network=networks.kopano,
        web_network=networks.web,
        webapp_keys=ssl.bundles["webapp"],
        sockets=core.sockets,
    ),
    on_host,
)
web = Web("web", WebArgs(config, images.ids["web"], networks.web, ssl.bundles["web"]), on_host)

outputs.export(config, images, networks, ssl, db, ldap, core, frontends, web)
