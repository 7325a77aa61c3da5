#!/bin/bash
# Checks the settings, then runs PHP and nginx until one of them ends.
set -eu
. /usr/local/lib/lab.sh

[ $# -eq 0 ] || exec "$@"

check_settings() {
    need PHPLDAPADMIN_LDAP_HOSTS
    local host='(ldaps?://)?[A-Za-z0-9_][A-Za-z0-9._-]*(:[0-9]{1,5})?'
    [[ $PHPLDAPADMIN_LDAP_HOSTS =~ ^$host(,$host)*$ ]] \
        || refuse "PHPLDAPADMIN_LDAP_HOSTS is '$PHPLDAPADMIN_LDAP_HOSTS': give hosts with a comma between them, such as" \
            "ldap or ldaps://ldap.example.com:636."
    [ "${PHPLDAPADMIN_HTTPS:-true}" = false ] \
        || refuse "PHPLDAPADMIN_HTTPS is '${PHPLDAPADMIN_HTTPS:-}': set it to false, as the proxy in front speaks TLS."
    for name in $(compgen -e PHPLDAPADMIN); do
        case $name in
            PHPLDAPADMIN_LDAP_HOSTS|PHPLDAPADMIN_HTTPS) ;;
            *) refuse "$name is set, and the lab does not have it: leave it out." ;;
        esac
    done
    export TZ=${TZ:-UTC}
    [[ $TZ =~ ^[A-Za-z0-9/_+-]+$ && -f /usr/share/zoneinfo/$TZ ]] \
        || refuse "TZ is '$TZ', which is no time zone: give one such as Europe/Berlin."
}

check_settings
for folder in /run/php /tmp; do
    [ -w "$folder" ] || refuse "$folder cannot be written by user www-data (33): mount a tmpfs there."
done
install -d -m 0700 /tmp/sessions
rm -f /run/php/ldap-admin.sock
banner "phpLDAPadmin for $PHPLDAPADMIN_LDAP_HOSTS."
stopped=
trap 'stopped=yes' TERM INT QUIT
php-fpm8.2 --fpm-config /etc/php/8.2/fpm/php-fpm.conf &
nginx -c /etc/nginx/nginx.conf &
# The container is of no use with one of the two.
wait -n && code=0 || code=$?
[ -n "$stopped" ] || say "PHP or nginx has ended by itself, with code $code." >&2
jobs -p | xargs -r kill 2>/dev/null || true
wait
[ -n "$stopped" ]
