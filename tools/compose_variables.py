"""What becomes of each variable of the reference deployment's .env file: a setting, or a reason why there is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from components.images import PUBLISHED
from components.settings import SERVICES
from components.volumes import DATA

Variables = Mapping[str, str]


@dataclass
class Imported:
    """What is made of the variables: `config` (setting -> value), `secrets` (path of a setting -> value), `mapped` (variable ->
    setting), `left_out` (variable -> reason)."""

    config: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    mapped: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def set(self, variable: str, path: str, value: Any) -> None:
        """Give a setting, or an entry of one (`publish.smtp`), the value that comes from a variable."""
        setting, *entries = path.split(".", 2)
        place, last = self.config, setting
        for entry in entries:
            place, last = place.setdefault(last, {}), entry
        place[last] = value
        self.mapped[variable] = f"kopano:{path}"

    def hide(self, variable: str, path: str, value: str) -> None:
        """Give a setting a value that only the encrypted form of goes into the stack file."""
        self.secrets[path] = value
        self.mapped[variable] = f"kopano:{path} (secret)"


REPLACED = "a new password is made and set in the data"
DERIVED = "follows from other settings"
BUILDING = "is for building images"
TAGS = {
    "CORE_VERSION": "core",
    "KAPPS_VERSION": "kapps",
    "KDAV_VERSION": "kdav",
    "KONNECT_VERSION": "konnect",
    "KWEB_VERSION": "web",
    "KWMBRIDGE_VERSION": "kwmbridge",
    "KWM_VERSION": "kwmserver",
    "MEET_VERSION": "meet",
    "SCHEDULER_VERSION": "scheduler",
    "SSL_VERSION": "ssl",
    "WEBAPP_VERSION": "webapp",
    "ZPUSH_VERSION": "zpush",
}
PLAIN = {
    "LDAP_BASE_DN": "ldapBaseDn",
    "LDAP_ORGANISATION": "organisation",
    "MAILBOXLANG": "mailboxLocale",
    "TZ": "timezone",
    "HTTP": "httpPort",
    **{variable: f"imageTags.{image}" for variable, image in TAGS.items()},
    **{
        f"SELF_SERVICE_PASSWORD_{rule}": f"environment.password-self-service.PASSWORD_{rule}"
        for rule in ("MAX_LENGTH", "MIN_DIGIT", "MIN_LENGTH", "MIN_LOWERCASE", "MIN_SPECIAL", "MIN_UPPERCASE")
    },
}
"""Variables whose value a setting takes as it is."""

MAIL_PORTS = {"SMTPPORT": "smtp", "SMTPSPORT": "smtps", "MSAPORT": "submission"}
INNER_PORTS = {
    "ICALPORT": "ical",
    "IMAPPORT": "imap",
    "KOPANOPORT": "server",
    "KOPANOSPORT": "serverTls",
    "LDAPPORT": "ldap",
    "POP3PORT": "pop3",
}
DEFAULTS = {
    "DEFAULTREDIRECT": ("/webapp", "the proxy's root leads to the WebApp"),
    "KCCOMMENT_LDAP_1": ("!include /usr/share/kopano/ldap.active-directory.cfg", "environment.server.KCCOMMENT_LDAP_1"),
    "KCUNCOMMENT_LDAP_1": ("!include /usr/share/kopano/ldap.openldap.cfg", "environment.server.KCUNCOMMENT_LDAP_1"),
    "KCCONF_SERVER_SERVER_NAME": ("Kopano", "environment.server.KCCONF_SERVER_SERVER_NAME"),
    "LDAP_QUERY_FILTER_ALIAS": ("(&(kopanoAccount=1)(kopanoAliases=%s))", "environment.mail.LDAP_QUERY_FILTER_ALIAS"),
    "LDAP_QUERY_FILTER_DOMAIN": (
        "(&(|(mail=*@%s)(kopanoAliases=*@%s)))",
        "environment.mail.LDAP_QUERY_FILTER_DOMAIN",
    ),
    "LDAP_QUERY_FILTER_GROUP": ("(&(objectclass=kopano-group)(mail=%s))", "environment.mail.LDAP_QUERY_FILTER_GROUP"),
    "LDAP_QUERY_FILTER_USER": ("(&(kopanoAccount=1)(mail=%s))", "environment.mail.LDAP_QUERY_FILTER_USER"),
}
"""Variable -> its usual value, and where another one goes (an environment), or why it goes nowhere."""

REASONS = {
    "ADDITIONAL_KOPANO_PACKAGES": "a read-only container takes no packages: use an image that has them (kopano:images)",
    "CADDY": "HTTPS is published once, on kopano:httpsPort",
    "COMPOSE_HTTP_TIMEOUT": "is for Docker Compose",
    "DOWNLOAD_COMMUNITY_PACKAGES": BUILDING,
    "EMAIL": "the proxy has a certificate of the stack's own authority",
    "FQDNCLEANED": DERIVED,
    "INSECURE": "certificates are always checked",
    "LDAP_ADMIN_PASSWORD": REPLACED,
    "LDAP_DOMAIN": DERIVED,
    "LDAP_HOST": DERIVED,
    "LDAP_READONLY_USER_PASSWORD": REPLACED,
    "LDAP_VERSION": "the directory's image has a pinned release; another one is named in kopano:images",
    "MYSQL_ROOT_PASSWORD": REPLACED,
    "POSTMASTER_ADDRESS": "is postmaster at the host name",
    "PUBLISHLATEST": BUILDING,
    "SASLAUTHD_LDAP_FILTER": "the mail server asks the gateway, which knows the users",
    "SELF_SERVICE_SECRETEKEY": "a new one is made",
}
PLUG_IN_PACKAGE = "kopano-webapp-plugin-"
BUILD_VARIABLE = re.compile(r"^KOPANO_[A-Z_]+_REPOSITORY_URL$")


def _address(found: Imported, variables: Variables) -> None:
    host, _, port = variables.get("FQDN", "").partition(":")
    if host:
        found.set("FQDN", "fqdn", host.lower())
    if port:
        found.config["httpsPort"] = port
        found.left_out["HTTPS"] = "the port is in FQDN"
    elif variables.get("HTTPS"):
        found.set("HTTPS", "httpsPort", variables["HTTPS"])


def _plug_ins(found: Imported, variables: Variables) -> None:
    name = "ADDITIONAL_KOPANO_WEBAPP_PLUGINS"
    packages = variables.get(name, "").replace('"', "").split()
    known = [package.removeprefix(PLUG_IN_PACKAGE) for package in packages if package.startswith(PLUG_IN_PACKAGE)]
    if known and len(known) == len(packages):
        found.set(name, "webappPlugins", " ".join(dict.fromkeys(known)))
    else:
        found.left_out[name] = f"names packages that are no {PLUG_IN_PACKAGE}...: use an image that has them (kopano:images)"


def _images(found: Imported, variables: Variables) -> None:
    if repository := variables.get("docker_repo"):
        registry = "." in repository.partition("/")[0] or ":" in repository.partition("/")[0]
        found.set("docker_repo", "imageRepository", repository if registry else f"docker.io/{repository}")
    tags = found.config.setdefault("imageTags", {})
    for image in PUBLISHED.values():
        name = image.name.removeprefix("kopano_")
        if image.tag is None and not image.repository:
            # What the compose files take where .env says nothing.
            tags.setdefault(name, "latest")
    if container := variables.get("LDAP_CONTAINER"):
        found.set("LDAP_CONTAINER", "demoUsers", container == "kopano_ldap_demo")


def _database(found: Imported, variables: Variables) -> None:
    if variables.get("MYSQL_HOST", "db") == "db":
        found.left_out["MYSQL_HOST"] = "the database is the block db"
        found.left_out["MYSQL_PASSWORD"] = REPLACED
        found.left_out["MYSQL_USER"] = "the account kopano is made in the data; drop one of another name yourself"
        if name := variables.get("MYSQL_DATABASE"):
            found.set("MYSQL_DATABASE", "databaseName", name)
        return
    found.config.setdefault("blocks", {})["db"] = False
    found.set("MYSQL_HOST", "database.host", variables["MYSQL_HOST"])
    found.config["database"]["port"] = 3306
    for variable, entry in (("MYSQL_DATABASE", "name"), ("MYSQL_USER", "user")):
        found.set(variable, f"database.{entry}", variables.get(variable, ""))
    found.hide("MYSQL_PASSWORD", "database.password", variables.get("MYSQL_PASSWORD", ""))


def _directory(found: Imported, variables: Variables) -> None:
    if variables.get("LDAP_SERVER", "ldap://ldap:389") in ("ldap://ldap:389", "ldap://ldap"):
        found.left_out["LDAP_SERVER"] = "the directory is the block ldap"
        found.left_out["LDAP_BIND_PW"] = REPLACED
        for variable in ("LDAP_BIND_DN", "LDAP_SEARCH_BASE"):
            found.left_out[variable] = DERIVED
        return
    blocks = found.config.setdefault("blocks", {})
    blocks["ldap"] = False
    found.config.pop("demoUsers", None)
    found.mapped.pop("LDAP_CONTAINER", None)
    found.left_out["LDAP_CONTAINER"] = "the directory is an external one"
    found.set("LDAP_SERVER", "directory.uri", variables["LDAP_SERVER"])
    for variable, entry in (("LDAP_SEARCH_BASE", "baseDn"), ("LDAP_BIND_DN", "bindDn")):
        found.set(variable, f"directory.{entry}", variables.get(variable, ""))
    found.hide("LDAP_BIND_PW", "directory.bindPassword", variables.get("LDAP_BIND_PW", ""))


def _ports(found: Imported, variables: Variables) -> None:
    ports = {service: variables.get(variable, "") for variable, service in MAIL_PORTS.items()}
    if any(port and port != str(SERVICES[service].default) for service, port in ports.items()):
        for variable, service in MAIL_PORTS.items():
            found.set(variable, f"publish.{service}", variables.get(variable) or str(SERVICES[service].default))
        # Named ports are all that is published.
        found.config["publish"] |= {service: str(SERVICES[service].default) for service in ("imaps", "pop3s")}
    else:
        found.left_out |= dict.fromkeys(MAIL_PORTS, "is where it is published anyway")
    for variable, service in INNER_PORTS.items():
        found.left_out[variable] = f"unencrypted or internal, so published only when asked: kopano:publish.{service}"
    found.left_out["KOPANOSPORT"] = "internal, so published only when asked: kopano:publish.serverTls"


def _compose_files(found: Imported, variables: Variables) -> None:
    files = variables.get("COMPOSE_FILE")
    if not files:
        return
    found.mapped["COMPOSE_FILE"] = "kopano:blocks"
    blocks = found.config.setdefault("blocks", {})
    if "docker-compose.mail.yml" not in files:
        blocks["mail"] = False
    for block, file in (("kwmbridge", "docker-compose.kwmbridge.yml"), ("spamd", "spamd-extras.yml")):
        if file in files:
            blocks[block] = True


def _turn(found: Imported, variables: Variables) -> None:
    if variables.get("TURN_USER") or variables.get("TURN_PASSWORD"):
        for variable in ("TURN_USER", "TURN_PASSWORD"):
            found.left_out[variable] = "is for a service that names TURN servers; name them yourself in kopano:turn"


def _volumes(found: Imported, variables: Variables, there: set[str]) -> None:
    project = variables.get("COMPOSE_PROJECT_NAME")
    if not project:
        return
    found.mapped["COMPOSE_PROJECT_NAME"] = "kopano:volumes"
    volumes = {data: f"{project}_{data}" for data in DATA}
    found.config["volumes"] = {data: volume for data, volume in volumes.items() if volume in there}


STEPS: tuple[Callable[[Imported, Variables], None], ...] = (
    _address,
    _images,
    _database,
    _directory,
    _ports,
    _compose_files,
    _plug_ins,
    _turn,
)


def translate(variables: Variables, there: set[str]) -> Imported:
    """Every variable of a .env file as a setting or with a reason. Arguments: the variables, without those that are empty; the
    names of the volumes on the Docker host."""
    found = Imported()
    for variable, path in PLAIN.items():
        if variable in variables:
            found.set(variable, path, variables[variable])
    for step in STEPS:
        step(found, variables)
    _volumes(found, variables, there)
    for variable, (usual, place) in DEFAULTS.items():
        if variables.get(variable, usual) == usual or not place.startswith("environment."):
            found.left_out[variable] = place if not place.startswith("environment.") else "has the usual value"
        else:
            found.set(variable, place, variables[variable])
    found.left_out |= REASONS
    found.left_out = {variable: reason for variable, reason in found.left_out.items() if variable in variables}
    for variable in variables:
        if BUILD_VARIABLE.match(variable):
            found.left_out[variable] = BUILDING
        elif variable not in found.mapped and variable not in found.left_out:
            found.left_out[variable] = "is unknown: no variable of the reference deployment"
    return found
