"""Kopano on Docker: settings -> components -> stack outputs."""

import gc
from collections.abc import Mapping

import pulumi

from components import backup, core, ldap, mail, outputs, scheduler, settings
from components.backup import Backup, BackupArgs
from components.blocks import FRONT
from components.core import Core, CoreArgs
from components.db import Database, DatabaseAccess, DatabaseArgs, DatabasePasswords, DatabasePasswordsArgs
from components.engine import engine
from components.frontends import Frontends, FrontendsArgs
from components.images import Images, ImagesArgs, reference
from components.ldap import Directory, DirectoryAccess, DirectoryArgs, DirectoryPasswords, DirectoryPasswordsArgs
from components.mail import Mail, MailArgs, SmtpAccess
from components.meet import Meet, MeetArgs
from components.network import Networks, NetworksArgs
from components.openid import OpenId, OpenIdArgs
from components.scheduler import Scheduler, SchedulerArgs
from components.ssl import Ssl, SslArgs
from components.volumes import DataVolumes
from components.web import Web, WebArgs, front_files

# The process ends with the program: there is no garbage worth a fifth of its time to look for.
gc.disable()

config = settings.load()
on_host = pulumi.ResourceOptions(providers=[engine(config)])

images = Images("images", ImagesArgs({block: reference(config, block) for block in config.running}), on_host)
networks = Networks("networks", NetworksArgs(config.prefix, config.stack, config.ipv6), on_host)
data = DataVolumes("data", config, on_host).volumes

files: dict[str, Mapping[str, pulumi.Input[str]]] = {
    "gateway-tls": core.tls_front_files(config),
    "docker-proxy": scheduler.proxy_files(config),
}
db_passwords, ldap_passwords = None, None
if config.database:
    database = DatabaseAccess.external(config.database)
else:
    db_passwords = DatabasePasswords("db-passwords", DatabasePasswordsArgs(config), on_host)
    database, files["db"] = db_passwords.access, db_passwords.files
if config.directory:
    directory = DirectoryAccess.external(config.directory)
    files |= ldap.authority_readers(config)
else:
    ldap_passwords = DirectoryPasswords("ldap-passwords", DirectoryPasswordsArgs(config), on_host)
    directory, files["ldap"] = ldap_passwords.access, ldap.directory_files()
files["mail"] = mail.overrides(config, networks.peers, directory)
if config.backup:
    files["backup"] = backup.files()
if FRONT in config.enabled:
    files[FRONT] = front_files(config, networks.web_gateways)
ssl = Ssl("ssl", SslArgs(config, images.ids["ssl"], files), on_host)

db, users = None, None
if db_passwords:
    db = Database(
        "db", DatabaseArgs(config, images.ids["db"], networks.kopano, data["mysql"], db_passwords, ssl.bundles["db"]), on_host
    )
if ldap_passwords:
    users = Directory(
        "ldap", DirectoryArgs(config, images.ids["ldap"], networks.ldap, data, ldap_passwords, ssl.bundles["ldap"]), on_host
    )

kopano = Core(
    "core",
    CoreArgs(
        settings=config,
        images=images.ids,
        kopano_network=networks.kopano,
        web_network=networks.web,
        ldap_network=networks.ldap,
        data=data,
        keys=ssl.bundles,
        database=database,
        directory=directory,
        smtp=SmtpAccess.of(config),
    ),
    on_host,
)
mta = None
if "mail" in config.running:
    mta = Mail(
        "mail",
        MailArgs(
            settings=config,
            image=images.ids["mail"],
            kopano_network=networks.kopano,
            ldap_network=networks.ldap,
            data=data,
            keys=ssl.bundles["mail"],
            directory=directory,
            dagent=kopano.dagent,
            gateway=kopano.gateway,
        ),
        on_host,
    )
openid = OpenId(
    "openid",
    OpenIdArgs(config, images.ids["konnect"], networks.kopano, networks.web, ssl.bundles["konnect"], kopano.sockets),
    on_host,
)
frontends = Frontends(
    "frontends",
    FrontendsArgs(
        settings=config,
        images=images.ids,
        kopano_network=networks.kopano,
        web_network=networks.web,
        ldap_network=networks.ldap,
        webapp_keys=ssl.bundles["webapp"],
        self_service_keys=ssl.bundles.get("password-self-service"),
        sockets=kopano.sockets,
        data=data,
        directory=directory,
        after=kopano.ready,
    ),
    on_host,
)
web = Web(
    "web",
    WebArgs(config, images.ids["web"], networks.web, ssl.bundles["web"], images.ids.get(FRONT), ssl.bundles.get(FRONT)),
    on_host,
)
meet = Meet("meet", MeetArgs(config, images.ids, networks.web, ssl.bundles, after=[openid, web]), on_host)
jobs = Scheduler(
    "scheduler",
    SchedulerArgs(config, images.ids, networks.kopano, networks.jobs, ssl.bundles["docker-proxy"], after=kopano.ready),
    on_host,
)
archives = None
if config.backup:
    script = ssl.bundles["backup"]
    archives = Backup(
        "backup", BackupArgs(config, images.ids, images.references, networks.kopano, data, script, database), on_host
    )

outputs.export(
    config,
    images=images,
    networks=networks,
    volumes=data,
    ssl=ssl,
    database=database,
    directory=directory,
    components=[part for part in (db, users, kopano, mta, openid, frontends, meet, jobs, archives, web) if part],
)
