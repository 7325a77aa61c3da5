"""Options that the lab's server acts on, with the published server's defaults."""

from __future__ import annotations

from pathlib import Path

from kopano_lab.config import Config, known_options
from kopano_lab.errors import Refusal

FOLDER = Path("/tmp/kopano")
PLUGIN_CONFIG = "/tmp/kopano/ldap.cfg"

SERVER = {
    "attachment_files_fsync": "yes",
    "attachment_path": "/var/lib/kopano/attachments",
    "disabled_features": "imap pop3",
    "embedded_attachment_limit": "20",
    "enable_sso": "no",
    "kcoidc_initialize_timeout": "60",
    "kcoidc_insecure_skip_verify": "no",
    "kcoidc_issuer_identifier": "",
    "local_admin_users": "root",
    "log_level": "3",
    "log_timestamp": "1",
    "mysql_database": "kopano",
    "mysql_host": "localhost",
    "mysql_password": "",
    "mysql_port": "3306",
    "mysql_socket": "",
    "mysql_user": "root",
    "quota_hard": "0",
    "quota_soft": "0",
    "quota_warn": "0",
    "search_enabled": "yes",
    "search_socket": "file:///var/run/kopano/search.sock",
    "search_timeout": "10",
    "server_listen": "*%lo:236",
    "server_listen_tls": "",
    "server_pipe_name": "/var/run/kopano/server.sock",
    "server_pipe_priority": "/var/run/kopano/prio.sock",
    "server_read_timeout": "60",
    "server_recv_timeout": "5",
    "server_ssl_ca_file": "/etc/kopano/ssl/cacert.pem",
    "server_ssl_key_file": "/etc/kopano/ssl/server.pem",
    "server_ssl_key_pass": "server",
    "session_timeout": "300",
    "sslkeys_path": "/etc/kopano/sslkeys",
    "sync_gab_realtime": "yes",
    "thread_limit": "40",
    "user_plugin": "db",
    "user_plugin_config": "/etc/kopano/ldap.cfg",
    "user_safe_mode": "no",
}

LDAP = {
    "ldap_addressbook_hide_attribute": "kopanoHidden",
    "ldap_bind_passwd": "",
    "ldap_bind_user": "",
    "ldap_emailaddress_attribute": "mail",
    "ldap_emailaliases_attribute": "kopanoAliases",
    "ldap_fullname_attribute": "cn",
    "ldap_hardquota_attribute": "kopanoQuotaHard",
    "ldap_isadmin_attribute": "kopanoAdmin",
    "ldap_loginname_attribute": "uid",
    "ldap_network_timeout": "30",
    "ldap_nonactive_attribute": "kopanoSharedStoreOnly",
    "ldap_object_type_attribute": "objectClass",
    "ldap_page_size": "1000",
    "ldap_quota_multiplier": "1",
    "ldap_quotaoverride_attribute": "kopanoQuotaOverride",
    "ldap_resource_type_attribute": "kopanoResourceType",
    "ldap_search_base": "",
    "ldap_softquota_attribute": "kopanoQuotaSoft",
    "ldap_starttls": "no",
    "ldap_uri": "ldap://localhost:389/",
    "ldap_user_search_filter": "",
    "ldap_user_type_attribute_value": "",
    "ldap_user_unique_attribute": "cn",
    "ldap_user_unique_attribute_type": "text",
    "ldap_warnquota_attribute": "kopanoQuotaWarn",
}


def load() -> tuple[Config, Config]:
    """The options of the server and of its user plugin."""
    server = Config.load(FOLDER / "server.cfg", SERVER, known_options("server"))
    if server.text("user_plugin") != "ldap":
        raise Refusal(
            f"user_plugin = '{server.text('user_plugin')}': the lab has the plugin ldap alone: "
            "set KCCONF_SERVER_USER_PLUGIN=ldap.",
            255,
        )
    if server.text("user_plugin_config") != PLUGIN_CONFIG:
        raise Refusal(
            f"user_plugin_config = '{server.text('user_plugin_config')}': the image keeps it elsewhere: "
            f"set KCCONF_SERVER_USER_PLUGIN_CONFIG={PLUGIN_CONFIG}.",
            255,
        )
    ldap = Config.load(Path(PLUGIN_CONFIG), LDAP, known_options("ldap"))
    if not ldap.text("ldap_user_type_attribute_value"):
        raise Refusal(
            "ldap.cfg: ldap_user_type_attribute_value is empty: include ldap.openldap.cfg or "
            "ldap.active-directory.cfg by KCUNCOMMENT_LDAP_1.",
            255,
        )
    # Wrong numbers and flags show up now and not at the first use.
    for config, defaults in ((server, SERVER), (ldap, LDAP)):
        for name, default in defaults.items():
            if default in ("yes", "no"):
                config.flag(name)
            elif default.isdigit():
                config.number(name)
    return server, ldap
