unhealthy() { echo "unhealthy: $1" >&2; exit 1; }

# process NAME
process() { grep -qsx "$1" /proc/[0-9]*/comm || unhealthy "$1 is not running"; }

# file PATH KIND MODE: owned by kopano
file() {
    found=$(stat -c '%F %a %U:%G' "$1" 2>&1) || unhealthy "$1 is missing"
    [ "$found" = "$2 $3 kopano:kopano" ] || unhealthy "$1 is '$found' and not '$2 $3 kopano:kopano'"
}

# answers URL STATUS [OPTION...]: the certificate is not judged here, as its name is not localhost
answers() {
    url=$1 wanted=$2; shift 2
    status=$(curl --silent --insecure --noproxy '*' --max-time 5 --output /dev/null --write-out '%{http_code}' "$@" "$url")
    [ "$status" = "$wanted" ] || unhealthy "$url answers $status and not $wanted"
}

# port_of VARIABLE DEFAULT: the port of the first address in a KCCONF_ variable
port_of() {
    eval "addresses=\${$1:-$2}"
    first=${addresses%% *}
    echo "${first##*:}"
}

# greets PORT WORDS COMMAND GOODBYE: what a peer says first, or after one command, begins so
greets() {
    said=$(timeout 5 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && IFS= read -r line <&3 \
        && if [ -n "$2" ]; then printf "%s\r\n" "$2" >&3 && IFS= read -r line <&3; fi && printf "%s" "$line" && printf "%s\r\n" "$3" >&3' \
        _ "$1" "$3" "$4" 2>/dev/null) || unhealthy "nothing answers on port $1"
    case $said in
        "$2"*) ;;
        *) unhealthy "port $1 says '$said' and not '$2'" ;;
    esac
}
