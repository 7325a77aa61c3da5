#!/bin/bash
# Fills new volumes from the members of an archive, each on standard input. The steps of `scripts/restore`:
#
#   volume [OPTION...]    a volume, mounted at /volume
#   directory NUMBER      a database of the directory: 0 is its configuration, 1 its entries
#   database COMMAND...   the database, by the server that this command runs on an empty data folder
set -euo pipefail
umask 077
export LC_ALL=C

fail() { echo "restore: $*" >&2; exit 1; }

volume() {
    # Owners and modes as they were, of the volume itself too.
    tar --extract --gzip --file=- --directory=/volume --numeric-owner --same-owner --same-permissions "$@" \
        || fail "the files could not be written"
}

directory() {
    gzip -dc | slapadd -q -F /etc/ldap/slapd.d -n "$1" > /tmp/slapadd.log 2>&1 \
        || { cat /tmp/slapadd.log >&2; fail "the directory does not take its entries"; }
    chown -R openldap:openldap /var/lib/ldap /etc/ldap/slapd.d
}

answers() { ask --execute="DO 0" > /dev/null 2>&1; }
# The first start ends with a server on TCP; the one that it needs before has none.
ask() {
    MYSQL_PWD=$MYSQL_PASSWORD mysql --protocol=tcp --host=127.0.0.1 --user="$MYSQL_USER" --max-allowed-packet=1G \
        --default-character-set=utf8mb4 "$@" "$MYSQL_DATABASE"
}

database() {
    "$@" --max-allowed-packet=1G > /tmp/server.log 2>&1 < /dev/null &
    local server=$! tries=0
    until answers; do
        tries=$((tries + 1))
        kill -0 "$server" 2> /dev/null && [ "$tries" -lt 600 ] \
            || { grep -v IDENTIFIED /tmp/server.log >&2; fail "the database does not start"; }
        sleep 0.2
    done
    gzip -dc | ask || fail "the database does not take its content"
    kill "$server"
    wait "$server" || fail "the database did not end well"
}

step=${1-}
shift
case $step in
    volume | directory | database) "$step" "$@" ;;
    *) fail "name one step: volume, directory or database" ;;
esac
