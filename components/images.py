"""Which image runs which block: the published ones or the lab's, their pins, and the override of single blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import pulumi
import pulumi_docker as docker

from components.settings import Settings


@dataclass(frozen=True)
class Published:
    """A published image.

    `name` is a `kopano_*` image of `kopano:imageRepository` unless `repository` names another. `tag` is the pinned release;
    None where the publisher never released under a fixed tag, so that the stack file has to name one.
    """

    name: str
    tag: str | None
    repository: str = ""


# Pins: the version labels of the reference deployment's image files and compose files, June 2022. Kopano's own packages were
# built into kopano_core, kopano_webapp and others as they were on that day, under tags that only their holder knows.
_CORE = Published("kopano_core", None)
_HAPROXY = Published("haproxy", "2.8.5", repository="docker.io/library")
PUBLISHED: Mapping[str, Published] = {
    "web": Published("kopano_web", "0.12.4"),
    "ssl": Published("kopano_ssl", "1.2.0"),
    "db": Published("mariadb", "10.3.10-bionic", repository="docker.io/library"),
    "ldap": Published("kopano_ldap", "1.3.0"),
    "ldap-admin": Published("phpldapadmin", "0.7.2", repository="docker.io/osixia"),
    "password-self-service": Published("self-service-password", "3.0", repository="docker.io/tiredofit"),
    "mail": Published("docker-mailserver", "10", repository="docker.io/mailserver"),
    **dict.fromkeys(("server", "dagent", "spooler", "gateway", "ical", "monitor", "search", "grapi", "kapi", "spamd"), _CORE),
    "gateway-tls": _HAPROXY,
    "web-front": _HAPROXY,
    "docker-proxy": _HAPROXY,
    "webapp": Published("kopano_webapp", None),
    "zpush": Published("kopano_zpush", None),
    "kdav": Published("kopano_kdav", None),
    "konnect": Published("kopano_konnect", "0.34.0"),
    "kapps": Published("kopano_kapps", None),
    "meet": Published("kopano_meet", None),
    "kwmserver": Published("kopano_kwmserver", "1.2.0"),
    "kwmbridge": Published("kopano_kwmbridge", "0.1.3"),
    "scheduler": Published("kopano_scheduler", None),
}
DEMO_DIRECTORY = Published("kopano_ldap_demo", "1.3.0")

LAB = {
    "ldap-admin": "ldap_admin",
    "password-self-service": "password_self_service",
    **dict.fromkeys(("server", "dagent", "spooler", "gateway", "ical", "monitor", "search", "spamd"), "core"),
    **dict.fromkeys(("grapi", "kapi"), "kapi"),
    **dict.fromkeys(("gateway-tls", "web-front", "docker-proxy"), "haproxy"),
    "kapps": "meet",
}
"""Block -> image of the lab, where it is not named like the block."""
LAB_DEMO_DIRECTORY = "ldap_demo"
LAB_LACKS = ("kwmbridge",)
"""Blocks for which the lab has no stand-in."""
LAB_WEBAPP_PLUGINS = ("desktopnotifications", "webappmanual")
"""Plug-ins of the WebApp for which the lab has one of Roundcube's."""


def _published(block: str, demo_users: bool) -> Published:
    return DEMO_DIRECTORY if block == "ldap" and demo_users else PUBLISHED[block]


def _tag_name(image: Published) -> str:
    """The name under which `kopano:imageTags` knows the image."""
    return image.name.removeprefix("kopano_")


def missing_tags(tags: Mapping[str, str], blocks: Iterable[str], *, demo_users: bool) -> list[str]:
    """The images that some of the blocks need, that have no pin and to which `kopano:imageTags` gives no tag."""
    images = {_published(block, demo_users) for block in blocks}
    return sorted(_tag_name(image) for image in images if image.tag is None and _tag_name(image) not in tags)


def unused_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The names in `kopano:imageTags` that are no image -> the names that are."""
    names = sorted({_tag_name(image) for image in (*PUBLISHED.values(), DEMO_DIRECTORY) if not image.repository})
    return {tag: ", ".join(names) for tag in tags if tag not in names}


@cache
def _lab(image: str) -> str:
    """The reference of a lab image, which takes reading all that it is made of."""
    from lab.images import catalog

    return catalog.reference(image)


def sibling(settings: Settings, block: str) -> str:
    """The block whose image runs `block` too: a backup is made with the programs of what it backs up. Mostly itself."""
    if block == "backup":
        return "db" if "db" in settings.enabled else "server"
    return "ldap" if block == "backup-ldap" else block


def reference(settings: Settings, block: str) -> str:
    """The image reference that runs `block` in the stack of `settings`."""
    if block in settings.images:
        return settings.images[block]
    if (other := sibling(settings, block)) != block:
        return reference(settings, other)
    if settings.image_source == "lab":
        return _lab(LAB_DEMO_DIRECTORY if block == "ldap" and settings.demo_users else LAB.get(block, block))
    image = _published(block, settings.demo_users)
    tag = settings.image_tags.get(_tag_name(image), image.tag)
    return f"{image.repository or settings.image_repository}/{image.name}:{tag}"


def registry_of(image: str) -> str:
    """The registry from which an image is pulled, as `kopano:registries` names it."""
    host, slash, _ = image.partition("/")
    return host if slash and ("." in host or ":" in host or host == "localhost") else "docker.io"


@dataclass(frozen=True)
class ImagesArgs:
    """Arguments of `Images`: block -> image reference."""

    references: Mapping[str, str]


class Images(pulumi.ComponentResource):
    """`kopano:images:Images`: the images on the Docker host.

    Creates one `docker.RemoteImage` for each distinct reference; it is pulled unless the host has it, and stays on the host
    when the stack goes. Outputs: `references` (block -> reference), `ids` (block -> image id, which a container runs by, so
    that a moved tag replaces exactly that image's containers). Fails when an image is neither on the host nor can be pulled.
    """

    def __init__(self, name: str, args: ImagesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("kopano:images:Images", name, None, opts)
        blocks: dict[str, list[str]] = {}
        for block, image in args.references.items():
            blocks.setdefault(image, []).append(block)
        self.references: dict[str, pulumi.Output[str]] = {}
        self.ids: dict[str, pulumi.Output[str]] = {}
        for image, users in blocks.items():
            remote = docker.RemoteImage(
                # Named by a block that it runs, not by the reference, so that a new tag is a change of the same resource.
                f"{name}-{users[0]}",
                name=image,
                keep_locally=True,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for block in users:
                self.references[block] = pulumi.Output.from_input(image)
                self.ids[block] = remote.image_id
        self.register_outputs({"references": self.references, "ids": self.ids})
