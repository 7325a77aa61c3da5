#!/bin/bash
# Checks the settings, brings the database up to date, then runs PHP, nginx and the bridge to the outbox until one of them ends.
set -eu
. /usr/local/lib/lab.sh

[ $# -eq 0 ] || exec "$@"

STATE=/var/lib/kopano-webapp
BRIDGE=127.0.0.1:2525
SERVER=http://kopano_server:236/
AUTHORITY=/kopano/ssl/ca.pem

check_settings() {
    export WEBAPP_IMAP_HOST=${WEBAPP_IMAP_HOST:-kopano_gateway:143}
    export WEBAPP_SMTP_HOST=${WEBAPP_SMTP_HOST:-$BRIDGE}
    for name in WEBAPP_IMAP_HOST WEBAPP_SMTP_HOST; do
        [[ ${!name} =~ ^((tls|ssl)://)?[A-Za-z0-9_][A-Za-z0-9._-]*:[0-9]{1,5}$ ]] \
            || refuse "$name is '${!name}': give host:port, with tls:// before it for STARTTLS or ssl:// for" \
                "TLS from the start."
    done

    export WEBAPP_CA_FILE=${WEBAPP_CA_FILE:-}
    [ -z "$WEBAPP_CA_FILE" ] || [ -r "$WEBAPP_CA_FILE" ] \
        || refuse "WEBAPP_CA_FILE names $WEBAPP_CA_FILE, which user www-data cannot read: mount it there," \
            "readable by all."

    # The domain of the container is that of the deployment, and so is the domain of its addresses.
    export WEBAPP_MAIL_DOMAIN=${WEBAPP_MAIL_DOMAIN:-$(cat /proc/sys/kernel/domainname)}
    [[ $WEBAPP_MAIL_DOMAIN =~ ^[A-Za-z0-9][A-Za-z0-9.-]*$ ]] \
        || refuse "WEBAPP_MAIL_DOMAIN is '$WEBAPP_MAIL_DOMAIN': give the domain of the users' addresses, such" \
            "as example.com" \
            "(without it the container's domain name is taken)."

    local seconds=${KCCONF_WEBAPP_CLIENT_TIMEOUT:-0}
    [[ $seconds =~ ^[0-9]{1,7}$ ]] \
        || refuse "KCCONF_WEBAPP_CLIENT_TIMEOUT is '$seconds': give the seconds after which an idle user is" \
            "logged out, or 0 for never."
    # Roundcube knows no "never": a month comes near it.
    export WEBAPP_SESSION_MINUTES=$(((10#$seconds + 59) / 60))
    [ "$WEBAPP_SESSION_MINUTES" -gt 0 ] || WEBAPP_SESSION_MINUTES=43200

    export WEBAPP_LANGUAGE=${KCCONF_WEBAPP_LANG:-}
    WEBAPP_LANGUAGE=${WEBAPP_LANGUAGE%%.*}
    [ -z "$WEBAPP_LANGUAGE" ] || [ -d "/usr/share/roundcube/program/localization/$WEBAPP_LANGUAGE" ] \
        || refuse "KCCONF_WEBAPP_LANG is '$KCCONF_WEBAPP_LANG': Roundcube has no such language; give one such" \
            "as en_US or de_DE."

    export TZ=${TZ:-UTC}
    [[ $TZ =~ ^[A-Za-z0-9/_+-]+$ && -f /usr/share/zoneinfo/$TZ ]] \
        || refuse "TZ is '$TZ', which is no time zone: give one such as Europe/Berlin."

    export WEBAPP_OIDC_ISSUER=${KCCONF_WEBAPP_OIDC_ISS:-} WEBAPP_OIDC_CLIENT=${KCCONF_WEBAPP_OIDC_CLIENT_ID:-}
    if [ -n "$WEBAPP_OIDC_ISSUER" ]; then
        [[ $WEBAPP_OIDC_ISSUER =~ ^https://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$ ]] \
            || refuse "KCCONF_WEBAPP_OIDC_ISS is '$WEBAPP_OIDC_ISSUER': give the address of the OpenID provider, such as" \
                "https://kopano.example.com."
        [[ $WEBAPP_OIDC_CLIENT =~ ^[A-Za-z0-9._~:/-]+$ ]] \
            || refuse "KCCONF_WEBAPP_OIDC_CLIENT_ID is '$WEBAPP_OIDC_CLIENT': give the name under which the OpenID" \
                "provider knows this webmail, such as webapp."
    fi
    # The authority of the provider's certificate: the deployment's own, where it has one.
    export WEBAPP_OIDC_CA_FILE=$WEBAPP_CA_FILE
    [ -n "$WEBAPP_OIDC_CA_FILE" ] || [ ! -e "$AUTHORITY" ] || WEBAPP_OIDC_CA_FILE=$AUTHORITY
    [ -z "$WEBAPP_OIDC_CA_FILE" ] || [ -r "$WEBAPP_OIDC_CA_FILE" ] \
        || refuse "$WEBAPP_OIDC_CA_FILE cannot be read by user www-data: mount it readable by that user."

    # As the published image has it: packages, perhaps in quotation marks.
    export WEBAPP_PLUGINS=
    local package
    for package in $(tr -d '"' <<<"${ADDITIONAL_KOPANO_WEBAPP_PLUGINS:-}"); do
        case $package in
            kopano-webapp-plugin-desktopnotifications) WEBAPP_PLUGINS+=' newmail_notifier' ;;
            kopano-webapp-plugin-webappmanual) WEBAPP_PLUGINS+=' help' ;;
            *) refuse "ADDITIONAL_KOPANO_WEBAPP_PLUGINS names '$package', and Roundcube has nothing like it here: give" \
                "kopano-webapp-plugin-desktopnotifications, kopano-webapp-plugin-webappmanual, or nothing." ;;
        esac
    done
    WEBAPP_PLUGINS=${WEBAPP_PLUGINS# }

    for name in $(compgen -e KCCONF_WEBAPP); do
        case $name in
            KCCONF_WEBAPP_CLIENT_TIMEOUT|KCCONF_WEBAPP_LANG|KCCONF_WEBAPP_OIDC_ISS|KCCONF_WEBAPP_OIDC_CLIENT_ID) ;;
            *) [ -z "${!name:-}" ] || say "$name is ignored: it has no meaning for Roundcube here." ;;
        esac
    done
}

prepare() {
    for folder in "$STATE" /run/php /run/sessions /tmp; do
        [ -w "$folder" ] || refuse "$folder cannot be written by user www-data (33): mount a volume or tmpfs" \
            "there that it owns."
    done
    umask 077
    if [ ! -s "$STATE/des_key" ]; then
        head -c 24 /dev/urandom | base64 >"$STATE/des_key.new"
        mv "$STATE/des_key.new" "$STATE/des_key"
    fi
    local problem
    problem=$(/usr/share/roundcube/bin/updatedb.sh --dir=/usr/share/roundcube/SQL --package=roundcube 2>&1) \
        || refuse "the database $STATE/roundcube.db could not be brought up to date: ${problem//$'\n'/ }"
    [ -z "$problem" ] || say "database: ${problem//$'\n'/ }"
    rm -f /run/php/webapp.sock
}

check_settings
prepare
banner "Roundcube for addresses of $WEBAPP_MAIL_DOMAIN, IMAP at $WEBAPP_IMAP_HOST, SMTP at $WEBAPP_SMTP_HOST," \
    "OpenID provider: ${WEBAPP_OIDC_ISSUER:-none}."
stopped=
trap 'stopped=yes' TERM INT QUIT
php-fpm8.2 --fpm-config /etc/php/8.2/fpm/php-fpm.conf &
nginx -c /etc/nginx/nginx.conf &
# What users send goes into their outbox, from where the spooler takes it.
[ "$WEBAPP_SMTP_HOST" != "$BRIDGE" ] || python3 -m kopano_lab.bridge --listen "$BRIDGE" --server "$SERVER" &
# The container is of no use with one of them.
wait -n && code=0 || code=$?
[ -n "$stopped" ] || say "PHP, nginx or the bridge to the outbox has ended by itself, with code $code." >&2
jobs -p | xargs -r kill 2>/dev/null || true
wait
[ -n "$stopped" ]
