# Runs before each start of the directory and gives its accounts the passwords of the container's variables. The image
# itself sets them in an empty directory only, where they would then stay for ever. No password is on a command line.
set -eu
umask 077
work=$(mktemp -d)
server=
stop() {
  [ -z "$server" ] || { kill "$server" && wait "$server"; } 2> /dev/null || true
  rm -rf "$work"
}
trap stop EXIT
fail() {
  echo "ldap: $*" >&2
  exit 1
}
hash() { printf %s "$1" | slappasswd -n -T /dev/stdin; }
base64_line() { printf %s "$1" | base64 | tr -d '\n'; }

# A server that nobody else can reach: on a socket in a folder of root's own. Each file that may be open costs it memory.
ulimit -n 1024
socket="ldapi://$(printf %s "$work/ldapi" | sed 's|/|%2F|g')"
slapd -h "$socket" -u openldap -g openldap -d 0 &
server=$!
tries=0
until ldapwhoami -Q -Y EXTERNAL -H "$socket" > "$work/said" 2>&1; do
  tries=$((tries + 1))
  kill -0 "$server" 2> /dev/null && [ "$tries" -lt 300 ] || fail "slapd does not start on this directory: $(cat "$work/said")"
  sleep 0.1
done

configured() { ldapsearch -Q -LLL -o ldif-wrap=no -Y EXTERNAL -H "$socket" -b cn=config "$1" dn | sed -n 's/^dn: //p'; }
base=$(printf %s "$LDAP_BASE_DN" | sed 's/(/\\28/g; s/)/\\29/g; s/\*/\\2a/g')
database=$(configured "(olcSuffix=$base)")
[ -n "$database" ] || fail "the directory on the volume has another base than $LDAP_BASE_DN: set kopano:ldapBaseDn to its own"

# The administrator of the data, and where there is one the administrator of the configuration.
configured "(|(olcSuffix=$base)(olcRootPW=*))" | while read -r entry; do
  printf 'dn: %s\nchangetype: modify\nreplace: olcRootPW\nolcRootPW: %s\n\n' "$entry" "$(hash "$LDAP_ADMIN_PASSWORD")"
done > "$work/configuration.ldif"
ldapmodify -Q -Y EXTERNAL -H "$socket" -f "$work/configuration.ldif" > "$work/said" 2>&1 \
  || fail "the administrator's password could not be set: $(cat "$work/said")"

account() {
  printf 'dn:: %s\nchangetype: modify\nreplace: userPassword\nuserPassword: %s\n\n' \
    "$(base64_line "cn=$1,$LDAP_BASE_DN")" "$(hash "$2")"
}
{
  account admin "$LDAP_ADMIN_PASSWORD"
  account "${LDAP_READONLY_USER_USERNAME:-readonly}" "$LDAP_READONLY_USER_PASSWORD"
} > "$work/accounts.ldif"
printf %s "$LDAP_ADMIN_PASSWORD" > "$work/password"
ldapmodify -x -D "cn=admin,$LDAP_BASE_DN" -y "$work/password" -H "$socket" -f "$work/accounts.ldif" > "$work/said" 2>&1 \
  || fail "the passwords of the accounts could not be set: $(cat "$work/said")"
