"""Meetings and the calendar: the pages and their signalling server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from components.openid import REGISTRATION
from components.settings import Settings
from components.workload import KEYS_PATH, Health, KeyBundle, Workload, WorkloadArgs, fetches


@dataclass(frozen=True)
class MeetArgs:
    """Arguments of `Meet`: the settings, block -> image id, the network on which the proxy is, reader -> its keys, and what must
    be healthy before the signalling server asks the OpenID provider."""

    settings: Settings
    images: Mapping[str, pulumi.Input[str]]
    web_network: pulumi.Input[str]
    keys: Mapping[str, KeyBundle]
    after: Sequence[pulumi.Resource]


class Meet(pulumi.ComponentResource):
    """`kopano:meet:Meet`: Meet with its signalling server, the calendar (kapps) and the bridge (kwmbridge), as switched on.

    Creates the containers `kopano_meet`, `kopano_kwmserver`, `kopano_kapps` and `kopano_kwmbridge`. Output: `containers`
    (network alias -> container name).
    """

    def __init__(self, name: str, args: MeetArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:meet:Meet", name, None, opts)
        self._name, self._args = name, args
        self.containers: dict[str, pulumi.Output[str]] = {}
        settings = args.settings
        guests = "true" if settings.meet_guests else "false"
        if "meet" in settings.enabled:
            self._run(
                "meet",
                {
                    "KCCONF_MEET_disableFullGAB": "false",
                    "KCCONF_MEET_guests_enabled": guests,
                    "KCCONF_MEET_minimumVersion": "20200121",
                    "KCCONF_MEET_oidc_useImplicitFlow": "true",
                    "SERVICE_TO_START": "meet",
                },
                fetches("http://127.0.0.1:9080/meet/"),
            )
            self._run(
                "kwmserver",
                _signalling(settings),
                fetches("http://127.0.0.1:8778/health-check"),
                command=["wrapper.sh"],
                secrets={"turn_service_credentials_password": settings.turn.password} if settings.turn else {},
                keys=args.keys["kwmserver"],
            )
        if "kapps" in settings.enabled:
            self._run("kapps", {"SERVICE_TO_START": "kapps"}, fetches("http://127.0.0.1:9080/calendar/"))
        if "kwmbridge" in settings.enabled:
            self._run(
                "kwmbridge",
                {
                    "INSECURE": "no",
                    "SSL_CERT_FILE": f"{KEYS_PATH}/ca.pem",
                    "kwm_server_urls": f"https://{settings.fqdn}:8443",
                    "oidc_issuer_identifier": settings.origin,
                },
                "pidof kwmbridged > /dev/null",
                keys=args.keys["kwmserver"],
                # Media come over UDP, on ports that are agreed on in each meeting.
                host_network=True,
            )
        self.register_outputs({"containers": self.containers})

    def _run(
        self,
        block: str,
        environment: Mapping[str, pulumi.Input[str]],
        check: str,
        *,
        command: list[str] | None = None,
        secrets: Mapping[str, pulumi.Input[str]] | None = None,
        keys: KeyBundle | None = None,
        host_network: bool = False,
    ) -> None:
        workload = Workload(
            f"{self._name}-{block}",
            WorkloadArgs(
                settings=self._args.settings,
                block=block,
                image=self._args.images[block],
                command=command,
                environment=environment,
                secrets=secrets or {},
                networks=[] if host_network else [self._args.web_network],
                host_network=host_network,
                keys=keys,
                machine_id=True,
                # The signalling server waits for the OpenID provider by itself.
                health=Health(check, longer=120),
                after=self._args.after if keys else [],
            ),
            pulumi.ResourceOptions(parent=self),
        )
        self.containers[workload.alias] = workload.container


def _signalling(settings: Settings) -> dict[str, pulumi.Input[str]]:
    environment: dict[str, pulumi.Input[str]] = {
        "INSECURE": "no",
        "SSL_CERT_FILE": f"{KEYS_PATH}/ca.pem",
        "enable_guest_api": "yes" if settings.meet_guests else "no",
        "enable_mcu_api": "yes" if "kwmbridge" in settings.enabled else "no",
        "enable_rtm_api": "yes",
        "oidc_issuer_identifier": settings.origin,
        "registration_conf": f"{KEYS_PATH}/{REGISTRATION}",
        # Empty: the image would otherwise ask a service on the internet for TURN servers.
        "turn_service_url": "",
    }
    if settings.meet_guests:
        environment["public_guest_access_regexp"] = "^group/public/.*"
    if settings.turn:
        environment |= {"turn_uris": settings.turn.uris, "turn_service_credentials_user": settings.turn.user}
    return environment
