#!/bin/sh
# Checks the settings, writes nginx' configuration from them and becomes nginx.
set -eu
. /usr/local/lib/lab.sh

[ $# -eq 0 ] || exec "$@"

STATE=/.kweb/lab
BLOCKS='GRAPI ICAL KAPI KAPPS KDAV KONNECT KWMSERVER MEET PLAYGROUND WEBAPP ZPUSH'

is_host() {
    case $1 in
        ''|-*|.*|*[!A-Za-z0-9._-]*) return 1 ;;
    esac
}

# put NAME VALUE: @NAME@ in the template becomes VALUE. No value that gets here has a character that sed or nginx minds.
put() { printf 's|@%s@|%s|g\n' "$1" "$2" >>"$STATE/values.sed"; }

check_settings() {
    need FQDN
    FQDN=${FQDN%:*}
    is_host "$FQDN" || refuse "FQDN is '$FQDN', which is no host name: give one such as kopano.example.com."

    DEFAULTREDIRECT=${DEFAULTREDIRECT%/}
    case $DEFAULTREDIRECT in
        //*|[!/]*|''|*[!A-Za-z0-9/._~-]*)
            refuse "DEFAULTREDIRECT is '$DEFAULTREDIRECT': give a path of this site such as /webapp, of" \
                "letters, digits and /._~-." ;;
    esac

    case $KONNECTPATH in
        ''|/*|*/|*[!A-Za-z0-9/._~-]*)
            refuse "KONNECTPATH is '$KONNECTPATH': give a path without slashes around it, such as kopanoid." ;;
    esac

    HTTPS_PORT=${HTTPS_PORT:-443}
    case $HTTPS_PORT in
        0*|*[!0-9]*|??????*) valid=no ;;
        *) [ "$HTTPS_PORT" -le 65535 ] && valid=yes || valid=no ;;
    esac
    [ "$valid" = yes ] \
        || refuse "HTTPS_PORT is '$HTTPS_PORT': give the port under which clients reach this container's 443, 1" \
            "to 65535."

    for name in $(env | sed -n 's/^KWEBD_DNS_\([A-Za-z0-9_]*\)=.*/\1/p'); do
        case " $BLOCKS " in
            *" $name "*) ;;
            *) refuse "KWEBD_DNS_$name is not known: after KWEBD_DNS_ one of these is allowed: $BLOCKS." ;;
        esac
    done

    for path in /etc/kweb-extras/*; do
        [ ! -e "$path" ] \
            || refuse "$path is in Caddy's syntax, which this proxy (nginx) does not read: remove it from" \
                "/etc/kweb-extras."
    done

    case ${TLS_MODE:-}:${EMAIL:-} in
        tls_off:*|tls_auto:off) TLS_MODE=tls_off ;;
        tls_selfsigned:*|tls_auto:self_signed) TLS_MODE=tls_selfsigned ;;
        tls_custom:*) ;;
        ../*:*@*) ACME_FILE=/etc/$TLS_MODE TLS_MODE=tls_acme ;;
        tls_auto:*) refuse "TLS_MODE is 'tls_auto', which asks Let's Encrypt for a certificate; the lab cannot:" \
            "set it to tls_custom, tls_selfsigned, tls_off, or a file below /etc that names another ACME server." ;;
        *) refuse "TLS_MODE is '${TLS_MODE:-}': set it to tls_custom, tls_selfsigned or tls_off." ;;
    esac
}

# Sets certificate and key to the files that TLS_CERT and TLS_KEY name.
custom_pair() {
    need TLS_CERT TLS_KEY
    for name in TLS_CERT TLS_KEY; do
        eval "path=\$$name"
        case $path in
            [!/]*|*[!A-Za-z0-9/._@+-]*)
                refuse "$name is '$path': give the absolute path of a PEM file, of letters, digits and /._@+-." ;;
        esac
        [ -f "$path" ] || refuse "$name names $path, which is no file in this container: mount it there."
        [ -r "$path" ] || refuse "$name names $path, which root cannot read here: let root own it, or its group" \
            "be root."
    done
    public=$(openssl x509 -in "$TLS_CERT" -noout -pubkey 2>/dev/null) \
        || refuse "TLS_CERT names $TLS_CERT, which does not begin with a PEM certificate: give the host's own," \
            "then its issuers'."
    # The empty pass phrase keeps openssl from asking for one: nobody is there to answer.
    private=$(openssl pkey -in "$TLS_KEY" -passin pass: -pubout 2>/dev/null) \
        || refuse "TLS_KEY names $TLS_KEY, which has no unencrypted private key in PEM: give one."
    [ "$public" = "$private" ] || refuse "TLS_KEY names $TLS_KEY, which does not belong to the certificate in" \
        "TLS_CERT: give a pair."
    openssl x509 -in "$TLS_CERT" -noout -checkend 0 >/dev/null || say "the certificate in TLS_CERT has expired."
    made_for "$TLS_CERT" || say "the certificate in TLS_CERT is not for $FQDN."
    certificate=$TLS_CERT key=$TLS_KEY
}

# Sets certificate and key to a pair of our own, made anew a month before it ends or when the name changes.
selfsigned_pair() {
    certificate=$STATE/self-signed.pem key=$STATE/self-signed.key
    if [ -r "$key" ] && openssl x509 -in "$certificate" -noout -checkend 2592000 >/dev/null 2>&1 \
        && made_for "$certificate"; then
        return
    fi
    say "making a self-signed certificate for $FQDN."
    # 397 days: browsers take none that is good for longer.
    reason=$(umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 397 \
        -subj '/O=Kopano lab, self-signed' -addext "subjectAltName=$(kind_of_name):$FQDN" \
        -addext 'basicConstraints=critical,CA:FALSE' -keyout "$key" -out "$certificate" 2>&1) \
        || refuse "no self-signed certificate could be made: $(echo "$reason" | tail -n 1)"
}

# Sets certificate and key to a pair from the ACME server in ACME_FILE, which is in Caddy's syntax: tls EMAIL { ca URL }.
acme_pair() {
    [ -r "$ACME_FILE" ] || refuse "TLS_MODE names $ACME_FILE, which is no file that root can read: mount it there."
    # shellcheck disable=SC2046 # three words
    set -- $(tr -s ' \n' ' ' <"$ACME_FILE" | sed -n 's|^tls \([^ ]*@[^ ]*\) { ca \(https://[^ ]*\) } *$|\1 \2|p')
    [ $# -eq 2 ] || refuse "$ACME_FILE is more than 'tls EMAIL { ca URL }', which is all that this proxy (nginx) reads."
    certificate=$STATE/acme/certificates/$FQDN.crt key=$STATE/acme/certificates/$FQDN.key
    ACME="lego --accept-tos --email $1 --server $2 --domains $FQDN --path $STATE/acme --http"
    if [ ! -s "$certificate" ] || ! made_for "$certificate" || ! openssl x509 -in "$certificate" -noout -checkend 0 >/dev/null; then
        say "asking $2 for a certificate for $FQDN."
        # By itself on port 80, where nginx is not yet.
        reason=$(umask 077 && $ACME run 2>&1) \
            || refuse "$2 gave no certificate for $FQDN: $(echo "$reason" | tail -n 1)"
    fi
    # Looked at twice a day, and anew a month before it ends.
    (
        while sleep 43200; do
            $ACME --http.webroot "$STATE/acme" renew --days 30 --renew-hook "nginx -s reload -c $STATE/nginx.conf" 2>&1 \
                || say "the certificate for $FQDN was not renewed."
        done
    ) &
}

kind_of_name() {
    case $FQDN in
        *[!0-9.]*) echo DNS ;;
        *) echo IP ;;
    esac
}

made_for() {
    case $(kind_of_name) in
        DNS) openssl x509 -in "$1" -noout -checkhost "$FQDN" ;;
        IP) openssl x509 -in "$1" -noout -checkip "$FQDN" ;;
    esac | grep -q 'does match'
}

configure() {
    { mkdir -p "$STATE" && : >"$STATE/values.sed"; } 2>/dev/null \
        || refuse "/.kweb cannot be written: mount a volume there that root owns."
    for block in $BLOCKS; do
        default=kopano_$(echo "$block" | tr '[:upper:]' '[:lower:]')
        host=
        eval "host=\${KWEBD_DNS_$block:-$default}"
        is_host "$host" || refuse "KWEBD_DNS_$block is '$host', which is no host name: give one such as $default."
        put "$block" "$host"
    done
    put DEFAULTREDIRECT "$DEFAULTREDIRECT"
    put KONNECTPATH "$KONNECTPATH"
    case $HTTPS_PORT in
        443) put HTTPS_PORT '' ;;
        *) put HTTPS_PORT ":$HTTPS_PORT" ;;
    esac
    case $HTTPS_PORT in
        443 | 2015) put LISTEN_PUBLIC '' && put LISTEN_PUBLIC_IPV6 '' ;;
        80 | 8443) refuse "HTTPS_PORT is $HTTPS_PORT, on which the proxy serves something else: choose another port." ;;
        *)
            put LISTEN_PUBLIC "listen $HTTPS_PORT@SSL@ default_server;"
            put LISTEN_PUBLIC_IPV6 "listen [::]:$HTTPS_PORT@SSL@ default_server;"
            ;;
    esac
    # A kernel without IPv6 has no such file, and nothing can listen there.
    [ -e /proc/net/if_inet6 ] && put IPV6 '' || put IPV6 '#'
    if [ "$TLS_MODE" = tls_off ]; then
        put SSL ''
        put CERTIFICATE ''
    else
        "${TLS_MODE#tls_}_pair"
        put SSL ' ssl http2'
        put CERTIFICATE "ssl_certificate $certificate; ssl_certificate_key $key;"
    fi
    sed -f "$STATE/values.sed" /etc/nginx/nginx.conf.in >"$STATE/nginx.conf"
    problem=$(nginx -t -q -c "$STATE/nginx.conf" 2>&1) || refuse "nginx does not take its configuration: $problem"
}

check_settings
configure
banner "Proxy for $FQDN, $TLS_MODE."
exec nginx -c "$STATE/nginx.conf"
