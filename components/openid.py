"""The OpenID provider, with which users log in to the WebApp, Meet and the REST API."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import pulumi

from components.settings import Settings
from components.workload import KEYS_PATH, SOCKETS_PATH, Health, KeyBundle, Mount, Workload, WorkloadArgs, fetches

REGISTRATION = "konnectd-identifier-registration.yaml"


def signing_key_file(settings: Settings) -> str:
    """The file of the key that signs tokens. Its name is the key's name in tokens and in the list of public keys: by another one
    those who check tokens see at once that there is a new key."""
    return f"konnectd-tokens-signing-key{settings.suffix('konnect')}.pem"


def registration(settings: Settings, meet_key: str) -> str:
    """The file that tells Konnect and the signalling server of clients (JSON, which is YAML too).

    Clients on the deployment's own origin are trusted without being named. Meet's guests need an entry, with the key that
    signs their log-ins, and so do the clients of the stack file, which are not trusted: users are asked for consent.
    Arguments: the settings, and the Meet key (PEM), which is in the result where guests are let in.
    """
    clients = [_client(name, address) for name, address in sorted(settings.openid_clients.items())]
    if settings.meet_guests:
        meet = f"{settings.origin}/meet/"
        clients.append(
            {
                "id": f"kpop-{meet}",
                "name": "Kopano Meet",
                "application_type": "web",
                "trusted": True,
                "redirect_uris": [meet],
                "trusted_scopes": ["konnect/guestok", "kopano/kwm"],
                "jwks": {"keys": [_jwk(meet_key)]},
                "request_object_signing_alg": "ES256",
            }
        )
    return json.dumps({"clients": clients})


def _client(name: str, address: str) -> dict[str, Any]:
    """A client without a secret. Konnect takes https for web applications alone, and http for native ones, on localhost."""
    kind = "web" if address.startswith("https:") else "native"
    return {"id": name, "name": name, "application_type": kind, "trusted": False, "redirect_uris": [address]}


def _jwk(key: str) -> dict[str, str]:
    """A P-256 private key (PEM, as `tls.PrivateKey` writes it) as a JSON Web Key.

    RFC 5915: the encoded key begins with seven bytes of framing and the 32 bytes of the private number, and ends with the two
    coordinates of the public point.
    """
    encoded = base64.b64decode("".join(line for line in key.splitlines() if "-----" not in line))
    numbers = {"d": encoded[7:39], "x": encoded[-64:-32], "y": encoded[-32:]}
    texts = {name: base64.urlsafe_b64encode(number).rstrip(b"=").decode() for name, number in numbers.items()}
    return {"kty": "EC", "use": "sig", "kid": "meet-kwmserver", "crv": "P-256", **texts}


@dataclass(frozen=True)
class OpenIdArgs:
    """Arguments of `OpenId`: the settings, Konnect's image id, the networks to join, its keys, and the volume of the server's
    sockets, over which it checks passwords."""

    settings: Settings
    image: pulumi.Input[str]
    kopano_network: pulumi.Input[str]
    web_network: pulumi.Input[str]
    keys: KeyBundle
    sockets: pulumi.Input[str]


class OpenId(pulumi.ComponentResource):
    """`kopano:openid:OpenId`: Konnect.

    Creates the container `kopano_konnect`. Guests are let in only where Meet wants them; clients cannot register themselves.
    Outputs: `issuer` (URL), `containers` (network alias -> container name).
    """

    def __init__(self, name: str, args: OpenIdArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:openid:OpenId", name, None, opts)
        settings = args.settings
        konnect = Workload(
            f"{name}-konnect",
            WorkloadArgs(
                settings=settings,
                block="konnect",
                image=args.image,
                environment={
                    "FQDN": settings.origin.removeprefix("https://"),
                    "SSL_CERT_FILE": f"{KEYS_PATH}/ca.pem",
                    "allow_client_guests": "yes" if settings.meet_guests else "no",
                    "allow_dynamic_client_registration": "no",
                    "eckey": f"{KEYS_PATH}/meet-kwmserver.pem",
                    "ecparam": f"{KEYS_PATH}/ecparam.pem",
                    "encryption_secret_key": f"{KEYS_PATH}/konnectd-encryption.key",
                    "identifier_registration_conf": f"{KEYS_PATH}/{REGISTRATION}",
                    "identifier_scopes_conf": "/etc/kopano/konnectd-identifier-scopes.yaml",
                    "oidc_issuer_identifier": settings.origin,
                    "signing_private_key": f"{KEYS_PATH}/{signing_key_file(settings)}",
                    "validation_keys_path": f"{KEYS_PATH}/konnectkeys",
                },
                networks=[args.kopano_network, args.web_network],
                mounts=[Mount(args.sockets, SOCKETS_PATH, writable=True)],
                keys=args.keys,
                machine_id=True,
                health=Health(fetches("http://127.0.0.1:8777/health-check")),
            ),
            pulumi.ResourceOptions(parent=self),
        )
        self.issuer = pulumi.Output.from_input(settings.origin)
        self.containers = {konnect.alias: konnect.container}
        self.register_outputs({"issuer": self.issuer, "containers": self.containers})
