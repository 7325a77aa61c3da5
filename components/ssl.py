"""The stack's own certificate authority, and the keys and certificates that it gives to the blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pulumi
import pulumi_random as random
import pulumi_tls as tls

from components.blocks import BLOCKS, FRONT
from components.mail import dkim_key_path, dkim_name
from components.openid import REGISTRATION, registration, signing_key_file
from components.settings import Settings
from components.volumes import ScratchVolume, VolumeArgs
from components.web import acme_files
from components.workload import KOPANO_USER, TRUSTED, KeyBundle, Mount, OneShot, OneShotArgs, Upload

CA_HOURS = 10 * 365 * 24

WEBAPP_USER = "33:33"  # www-data of Debian
NOBODY = "65534:65534"  # the user of the published images of Konnect and the signalling server
READABLE = "0444"
"""The mode of files whose reader's user differs between images. Each volume is mounted by one container alone."""
OWNERS = {"db": "999:999"}  # mysql of the published image
"""Readers whose files from other components are secret -> their user, who alone may read them."""

# Constant of the P-256 curve, which the Meet key uses: its object identifier in ASN.1, as `openssl ecparam` writes it.
EC_PARAMETERS = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"

CLIENTS = ("server", "dagent", "monitor", "search", "spooler", "webapp", "admin")
"""The services that have a certificate `kopano_<name>.pem` and whose public keys the server trusts."""


@dataclass(frozen=True)
class SslArgs:
    """Arguments of `Ssl`: the settings, the id of the image that seeds the volumes (any with a POSIX shell), and files that
    readers need beside their keys (reader -> path -> content; secret ones only where the reader has a private key, or `OWNERS`
    names it, by which nobody can guess the content from its fingerprint)."""

    settings: Settings
    image: pulumi.Input[str]
    files: Mapping[str, Mapping[str, pulumi.Input[str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    content: pulumi.Input[str] | None = None
    content_base64: pulumi.Input[str] | None = None


@dataclass(frozen=True)
class _Bundle:
    """The files of one reader (path -> content), who owns them, and their mode."""

    files: Mapping[str, _File]
    owner: str = "0:0"
    mode: str = "0400"


class Ssl(pulumi.ComponentResource):
    """`kopano:ssl:Ssl`: keys and certificates, and the volumes from which the blocks read them.

    Creates a certificate authority (`tls.PrivateKey`, `tls.SelfSignedCert`); a key and a certificate for each of server,
    dagent, monitor, search, spooler, webapp, admin, web, mail and gateway-tls (`tls.PrivateKey`, `tls.CertRequest`,
    `tls.LocallySignedCert`); Konnect's signing and encryption keys, the Meet key and Kapi's key (`tls.PrivateKey`,
    `random.RandomBytes`); a key for each domain in `kopano:dkim` (`tls.PrivateKey`); one `docker.Volume` for each reader;
    and the one-shot container `kopano_ssl` that fills the volumes and ends. Keys of a higher generation have other names, so
    that they are new ones. Each volume holds only what its reader needs: its own key, the authority's certificate, for the
    server the public keys of its clients, and files that the program makes.

    Outputs: `ca_certificate` (PEM), `bundles` (reader -> `KeyBundle`), `dkim` (DNS name -> text of its TXT record), `container`
    (name of the seeding container).
    """

    def __init__(self, name: str, args: SslArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:ssl:Ssl", name, None, opts)
        self._name, self._settings = name, args.settings
        self.dkim: dict[str, pulumi.Output[str]] = {}
        self._child = pulumi.ResourceOptions(parent=self)
        self._authority()
        bundles = self._bundles(args.settings)
        for reader, files in args.files.items():
            alone = _Bundle({}, owner=OWNERS[reader]) if reader in OWNERS else _Bundle({}, mode=READABLE)
            bundle = bundles.get(reader, alone)
            bundles[reader] = replace(bundle, files={**bundle.files, **{path: _File(text) for path, text in files.items()}})
        volumes = {
            reader: ScratchVolume(
                f"{name}-{reader}",
                VolumeArgs(f"{args.settings.prefix}-ssl-{reader}", args.settings.stack),
                pulumi.ResourceOptions(parent=self),
            ).volume
            for reader in bundles
        }
        seeding = OneShot(
            f"{name}-seed",
            OneShotArgs(
                settings=args.settings,
                block="ssl",
                image=args.image,
                script=_script(bundles),
                uploads=[
                    Upload(f"/seed/{reader}/{path}", file.content, file.content_base64)
                    for reader, bundle in bundles.items()
                    for path, file in bundle.files.items()
                ],
                mounts=[Mount(volume, f"/ssl/{reader}", writable=True) for reader, volume in volumes.items()],
                capabilities=["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"],
            ),
            pulumi.ResourceOptions(parent=self),
        )
        self.bundles = {reader: KeyBundle(volumes[reader], _fingerprint(bundle), seeding) for reader, bundle in bundles.items()}
        self.container = seeding.container
        self.register_outputs(
            {"ca_certificate": self.ca_certificate, "dkim": self.dkim, "volumes": volumes, "container": self.container}
        )

    def _authority(self) -> None:
        self._ca_key = self._elliptic("ca")
        self._ca = tls.SelfSignedCert(
            f"{self._name}-ca",
            private_key_pem=self._ca_key.private_key_pem,
            subject=tls.SelfSignedCertSubjectArgs(common_name="Internal Kopano System", organization="Kopano"),
            is_ca_certificate=True,
            set_subject_key_id=True,
            allowed_uses=["cert_signing", "crl_signing", "digital_signature"],
            validity_period_hours=CA_HOURS,
            # No certificate outlives its authority.
            early_renewal_hours=self._settings.certificate_hours,
            opts=self._child,
        )
        self.ca_certificate: pulumi.Output[str] = self._ca.cert_pem

    def _certificate(self, owner: str, common_name: str, host_names: list[str], key: tls.PrivateKey) -> pulumi.Output[str]:
        request = tls.CertRequest(
            f"{self._name}-{owner}-request",
            private_key_pem=key.private_key_pem,
            dns_names=host_names,
            subject=tls.CertRequestSubjectArgs(common_name=common_name, organizational_unit=common_name),
            opts=self._child,
        )
        certificate = tls.LocallySignedCert(
            f"{self._name}-{owner}-certificate",
            ca_private_key_pem=self._ca_key.private_key_pem,
            ca_cert_pem=self.ca_certificate,
            cert_request_pem=request.cert_request_pem,
            allowed_uses=["digital_signature", "key_encipherment", "server_auth", "client_auth"],
            set_subject_key_id=True,
            validity_period_hours=self._settings.certificate_hours,
            early_renewal_hours=self._settings.certificate_renewal_hours,
            opts=self._child,
        )
        return certificate.cert_pem

    def _rsa(self, owner: str, bits: int, of: str = "certificates") -> tls.PrivateKey:
        name = f"{self._name}-{owner}-key{self._settings.suffix(of)}"
        return tls.PrivateKey(name, algorithm="RSA", rsa_bits=bits, opts=self._child)

    def _elliptic(self, owner: str, of: str = "certificates") -> tls.PrivateKey:
        name = f"{self._name}-{owner}-key{self._settings.suffix(of)}"
        return tls.PrivateKey(name, algorithm="ECDSA", ecdsa_curve="P256", opts=self._child)

    def _bundles(self, settings: Settings) -> dict[str, _Bundle]:
        ca = _File(self.ca_certificate)
        # Whom those trust who ask for the OpenID provider under the deployment's host name.
        own = settings.authority
        trusted = _File(pulumi.Output.concat(self.ca_certificate, own)) if own else ca
        keys = {owner: self._rsa(owner, 2048) for owner in CLIENTS}
        bundles = {}
        for owner, key in keys.items():
            host_name = owner if owner == "admin" else f"kopano_{owner}"
            certificate = self._certificate(owner, host_name, [host_name, settings.fqdn], key)
            # Kopano reads the key and the certificate from one file.
            pem = _File(pulumi.Output.concat(key.private_key_pem, certificate))
            bundles[owner] = _Bundle(
                {"ca.pem": ca, f"{host_name}.pem": pem}, owner=WEBAPP_USER if owner == "webapp" else KOPANO_USER
            )
        clients = {
            f"clients/{'admin' if owner == 'admin' else f'kopano_{owner}'}-public.pem": _File(key.public_key_pem)
            for owner, key in keys.items()
        }
        # Not as its ca.pem: that is whose certificates its own clients may have.
        issuer = {TRUSTED: trusted} if own else {}
        bundles["server"] = _Bundle({**bundles["server"].files, **clients, **issuer}, owner=KOPANO_USER)
        bundles["webapp"] = replace(bundles["webapp"], files={**bundles["webapp"].files, "ca.pem": trusted})
        bundles |= {
            "web": self._web(settings, ca),
            "gateway-tls": self._gateway_tls(settings),
            "mail": self._mail(settings),
            **self._openid(settings, trusted),
            "kapi": self._kapi(settings, trusted),
        }
        if FRONT in settings.enabled:
            bundles[FRONT] = _Bundle({"ca.pem": ca}, mode=READABLE)
        return bundles

    def _host_certificate(self, settings: Settings, owner: str) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
        """A key and a certificate for the deployment's host name: the stack file's own, or of the stack's authority."""
        own = settings.certificate
        # Behind a proxy in front, the name is answered by that one outside, and inside the stack by who trusts its authority.
        if own and not (owner == "web" and settings.tls_mode == "proxy"):
            return pulumi.Output.secret(own.key), pulumi.Output.from_input(own.certificate)
        key = self._elliptic(owner)
        return key.private_key_pem, self._certificate(owner, settings.fqdn, [settings.fqdn, BLOCKS[owner].alias], key)

    def _gateway_tls(self, settings: Settings) -> _Bundle:
        key, certificate = self._host_certificate(settings, "gateway-tls")
        # HAProxy reads both from one file, as a user that differs between images.
        return _Bundle(
            {"ca.pem": _File(self.ca_certificate), "tls.pem": _File(pulumi.Output.concat(certificate, key))},
            mode=READABLE,
        )

    def _mail(self, settings: Settings) -> _Bundle:
        key, certificate = self._host_certificate(settings, "mail")
        files = {"mail.pem": _File(certificate), "mail.key": _File(key)}
        for domain, selector in settings.dkim.items():
            name = dkim_name(domain, selector)
            # It opens no data, so it goes with its setting.
            child = pulumi.ResourceOptions(parent=self)
            signing = tls.PrivateKey(f"{self._name}-{name}", algorithm="RSA", rsa_bits=2048, opts=child)
            files[f"opendkim/{dkim_key_path(domain, selector)}"] = _File(signing.private_key_pem)
            self.dkim[name] = signing.public_key_pem.apply(_dkim_record)
        return _Bundle(files)

    def _web(self, settings: Settings, ca: _File) -> _Bundle:
        key, certificate = self._host_certificate(settings, "web")
        files = {"ca.pem": ca, "web.pem": _File(certificate), "web.key": _File(key)}
        return _Bundle({**files, **{path: _File(text) for path, text in acme_files(settings).items()}})

    def _openid(self, settings: Settings, ca: _File) -> dict[str, _Bundle]:
        """Konnect's keys, and the list of clients, which the signalling server reads too."""
        signing = self._rsa("konnect-signing", 4096, "konnect")
        encryption = random.RandomBytes(
            f"{self._name}-konnect-encryption-key", length=32, keepers=settings.keepers("konnect"), opts=self._child
        )
        meet = self._elliptic("meet", "konnect")
        clients = _File(meet.private_key_pem.apply(lambda key: registration(settings, key)))
        konnect = {
            "ca.pem": ca,
            signing_key_file(settings): _File(signing.private_key_pem_pkcs8),
            "konnectd-encryption.key": _File(content_base64=encryption.base64),
            "meet-kwmserver.pem": _File(meet.private_key_pem),
            "ecparam.pem": _File(EC_PARAMETERS),
            REGISTRATION: clients,
        }
        return {
            "konnect": _Bundle(konnect, owner=NOBODY),
            "kwmserver": _Bundle({"ca.pem": ca, REGISTRATION: clients}, owner=NOBODY),
        }

    def _kapi(self, settings: Settings, ca: _File) -> _Bundle:
        key = random.RandomBytes(f"{self._name}-kapi-key", length=64, keepers=settings.keepers("kapi"), opts=self._child)
        # Its user has another number in each release of the published image. The volume is mounted by that container alone.
        return _Bundle({"ca.pem": ca, "kapid-pubs-secret.key": _File(key.hex)}, mode=READABLE)


def _dkim_record(public_key: str) -> str:
    """The text of the DNS record for a public key in PEM."""
    return f"v=DKIM1; k=rsa; p={''.join(line for line in public_key.splitlines() if not line.startswith('---'))}"


def _script(bundles: Mapping[str, _Bundle]) -> str:
    """The shell script of the seeding container.

    Files reach their place by renaming, so that a reader finds the old or the new one and never half of it or with the wrong
    owner. What is no longer seeded is removed. The keys do not stay in the ended container.
    """
    calls = "\n".join(f"fill {reader} {bundle.owner} {bundle.mode}" for reader, bundle in sorted(bundles.items()))
    return f"""umask 077
fill() {{
  cd "/ssl/$1"
  rm -rf .new
  cp -R "/seed/$1" .new
  find .new -type f -exec chmod "$3" {{}} +
  # Whom to trust is no secret, and is read by services that have given up their rights.
  find .new -type f -name '*ca.pem' -exec chmod 0444 {{}} +
  find .new -type d -exec chmod 0755 {{}} +
  chown -R "$2" .new
  (cd .new && find . -type d) | while read -r folder; do mkdir -p "$folder"; chmod 0755 "$folder"; done
  (cd .new && find . -type f) | while read -r file; do mv -f ".new/$file" "$file"; done
  rm -rf .new
  find . -type f | while read -r file; do [ -e "/seed/$1/$file" ] || rm -f "$file"; done
}}
{calls}
cd /
rm -rf /seed
"""


def _fingerprint(bundle: _Bundle) -> pulumi.Output[str]:
    """A hash over the content of a bundle. Not a secret: it covers keys that nobody can guess."""
    contents = pulumi.Output.all(
        **{path: file.content if file.content is not None else file.content_base64 for path, file in bundle.files.items()}
    )
    return pulumi.Output.unsecret(contents.apply(lambda files: hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()))
