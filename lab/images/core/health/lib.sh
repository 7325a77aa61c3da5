unhealthy() { echo "unhealthy: $1" >&2; exit 1; }

# process NAME
process() { grep -qsx "$1" /proc/[0-9]*/comm || unhealthy "$1 is not running"; }

# file PATH KIND MODE: owned by kopano
file() {
    found=$(stat -c '%F %a %U:%G' "$1" 2>&1) || unhealthy "$1 is missing"
    [ "$found" = "$2 $3 kopano:kopano" ] || unhealthy "$1 is '$found' and not '$2 $3 kopano:kopano'"
}

# answers URL STATUS: the certificate is not judged here, as its name is not localhost
answers() {
    status=$(curl --silent --insecure --noproxy '*' --max-time 5 --output /dev/null --write-out '%{http_code}' "$1")
    [ "$status" = "$2" ] || unhealthy "$1 answers $status and not $2"
}
