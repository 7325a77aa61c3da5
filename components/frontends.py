"""What users see in a browser or reach with a phone, behind the proxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_random as random

from components.blocks import BLOCKS
from components.core import DATA_PATH
from components.ldap import DirectoryAccess, authority_variables
from components.settings import Settings
from components.workload import SOCKETS_PATH, Health, KeyBundle, Mount, Workload, WorkloadArgs

# php-fpm changes to the user www-data, and the start scripts own what it writes.
CAPABILITIES = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID")


@dataclass(frozen=True)
class FrontendsArgs:
    """Arguments of `Frontends`: the settings, block -> image id, the networks to join, the WebApp's keys, the volume of the
    server's sockets, the data volumes, how the directory is read, what must be healthy before they start, and the bundle with
    `authority_files` for the page to change one's password, where the directory needs it."""

    settings: Settings
    images: Mapping[str, pulumi.Input[str]]
    kopano_network: pulumi.Input[str]
    web_network: pulumi.Input[str]
    ldap_network: pulumi.Input[str]
    webapp_keys: KeyBundle
    sockets: pulumi.Input[str]
    data: Mapping[str, pulumi.Input[str]]
    directory: DirectoryAccess
    after: pulumi.Resource
    self_service_keys: KeyBundle | None = None


class Frontends(pulumi.ComponentResource):
    """`kopano:frontends:Frontends`: the WebApp, and as switched on Z-Push (phones), kDAV (calendars and contacts), the pages to
    administer the directory and to change one's password.

    Creates a container for each. Output: `containers` (network alias -> container name).
    """

    def __init__(self, name: str, args: FrontendsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:frontends:Frontends", name, None, opts)
        self._name, self._args = name, args
        self.containers: dict[str, pulumi.Output[str]] = {}
        settings = args.settings
        kopano, web, ldap = args.kopano_network, args.web_network, args.ldap_network
        status = "curl -fsS -o /dev/null http://127.0.0.1:9080/status"
        self._run(
            "webapp",
            {
                "KCCONF_WEBAPP_CLIENT_TIMEOUT": "0",
                "KCCONF_WEBAPP_OIDC_CLIENT_ID": "webapp",
                "KCCONF_WEBAPP_OIDC_ISS": settings.origin,
                **_plug_ins(settings),
            },
            Health(status, start=300, longer=240) if settings.webapp_plugins else Health(status),
            networks=[kopano, web],
            mounts=[Mount(args.data["kopanowebapp"], "/var/lib/kopano-webapp", writable=True)],
            tmpfs=["/run/php", "/run/sessions", "/tmp", "/var/lib/kopano-webapp/plugin_files", "/var/log"],
            keys=args.webapp_keys,
            # The published image installs plug-ins when it starts, and leaves them out where it cannot write.
            read_only=not settings.webapp_plugins,
        )
        if "zpush" in settings.enabled:
            self._run(
                "zpush",
                {"ZPUSH_ADDITIONAL_FOLDERS": "[]"},
                # 401 is the answer of a Z-Push that runs to one who does not log in.
                Health(_answers("http://127.0.0.1:9080/Microsoft-Server-ActiveSync", 401)),
                networks=[kopano, web],
                mounts=[Mount(args.data["zpushstates"], "/var/lib/z-push", writable=True)],
                tmpfs=["/run/php", "/run/sessions", "/tmp", "/var/log"],
            )
        if "kdav" in settings.enabled:
            self._run(
                "kdav",
                {},
                Health(_answers("http://127.0.0.1:9080/kdav/", 401)),
                networks=[kopano, web],
                mounts=[
                    Mount(args.data["kdavstates"], "/var/lib/kopano/kdav", writable=True),
                    Mount(args.data["kopanodata"], DATA_PATH, writable=True),
                ],
                tmpfs=["/run/php", "/run/sessions", "/tmp", "/var/log/kdav"],
            )
        if "ldap-admin" in settings.enabled:
            self._run(
                "ldap-admin",
                {"PHPLDAPADMIN_HTTPS": "false", "PHPLDAPADMIN_LDAP_HOSTS": "ldap"},
                Health("curl -fsS -o /dev/null http://127.0.0.1/"),
                networks=[ldap, web],
                with_sockets=False,
                read_only=False,
            )
        if "password-self-service" in settings.enabled:
            session_key = random.RandomPassword(
                f"{name}-self-service-key", length=32, special=False, opts=pulumi.ResourceOptions(parent=self)
            ).result
            self._run(
                "password-self-service",
                _self_service(args),
                Health("curl -fsS -o /dev/null http://127.0.0.1/"),
                # Only to find the user: the password is changed with the user's own rights, not with the administrator's.
                secrets={"LDAP_BINDPASS": args.directory.bind_password, "SECRETEKEY": session_key},
                networks=[kopano, ldap, web],
                keys=args.self_service_keys,
                with_sockets=False,
                read_only=False,
            )
        self.register_outputs({"containers": self.containers})

    def _run(
        self,
        block: str,
        environment: Mapping[str, pulumi.Input[str]],
        health: Health,
        *,
        networks: Sequence[pulumi.Input[str]],
        secrets: Mapping[str, pulumi.Input[str]] | None = None,
        mounts: Sequence[Mount] = (),
        tmpfs: Sequence[str] = ("/tmp",),
        keys: KeyBundle | None = None,
        with_sockets: bool = True,
        read_only: bool = True,
    ) -> None:
        args = self._args
        sockets = [Mount(args.sockets, SOCKETS_PATH, writable=True)] if with_sockets else []
        workload = Workload(
            f"{self._name}-{block}",
            WorkloadArgs(
                settings=args.settings,
                block=block,
                image=args.images[block],
                hostname=f"kopano_{block}" if with_sockets else None,
                domainname=args.settings.fqdn,
                environment=environment,
                secrets=secrets or {},
                networks=networks,
                mounts=[*sockets, *mounts],
                tmpfs=tmpfs,
                keys=keys,
                machine_id=with_sockets,
                read_only=read_only,
                capabilities=[*CAPABILITIES, *([] if with_sockets else ["CAP_NET_BIND_SERVICE"])],
                health=health,
                after=[args.after] if with_sockets else [],
            ),
            pulumi.ResourceOptions(parent=self),
        )
        self.containers[workload.alias] = workload.container


def _plug_ins(settings: Settings) -> dict[str, str]:
    """Variables that make the published image install plug-ins, and tell the one for devices where these are known."""
    found = settings.webapp_plugins
    if not found:
        return {}
    devices = {"SERVER": f"{BLOCKS['zpush'].alias}:9080", "SERVER_SSL": "false", "USER_DEFAULT_ENABLE_MDM": "true"}
    return {
        "ADDITIONAL_KOPANO_WEBAPP_PLUGINS": " ".join(f"kopano-webapp-plugin-{name}" for name in found),
        **({f"KCCONF_WEBAPPPLUGIN_MDM_PLUGIN_MDM_{name}": value for name, value in devices.items()} if "mdm" in found else {}),
    }


def _answers(url: str, status: int) -> str:
    """A shell line that succeeds when the URL answers with this status."""
    return f"test \"$(curl -s -o /dev/null -w '%{{http_code}}' {url})\" = {status}"


def _self_service(args: FrontendsArgs) -> dict[str, pulumi.Input[str]]:
    settings = args.settings
    login = settings.directory.login_attribute if settings.directory else ""
    return {
        "BACKGROUND": ".",
        "LDAP_BASE_SEARCH": args.directory.base_dn,
        "LDAP_BINDDN": args.directory.bind_dn,
        **authority_variables(settings),
        **({"LDAP_LOGIN_ATTRIBUTE": login} if login else {}),
        "LDAP_SERVER": args.directory.uri,
        "MAIL_FROM": f"noreply@{settings.fqdn}",
        "PASSWORD_HASH": "CRYPT",
        "PASSWORD_MAX_LENGTH": "0",
        "PASSWORD_MIN_DIGIT": "1",
        "PASSWORD_MIN_LENGTH": "8",
        "PASSWORD_MIN_LOWERCASE": "0",
        "PASSWORD_MIN_SPECIAL": "0",
        "PASSWORD_MIN_UPPERCASE": "0",
        "PASSWORD_NO_REUSE": "true",
        "QUESTIONS_ENABLED": "false",
        "SMTP_AUTOTLS": "false",
        "SMTP_HOST": "mail",
        "SMTP_PORT": "25",
        "SMTP_SECURE_TYPE": "false",
        "SSP_VERSION": "1.3",
        "WHO_CAN_CHANGE_PASSWORD": "user",
    }
