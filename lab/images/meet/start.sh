#!/bin/bash
# Writes the page's configuration from the variables, as the published image does, and becomes nginx.
set -eu
. /usr/local/lib/lab.sh

[ $# -eq 0 ] || exec "$@"

case $SERVICE_TO_START in
    meet) page=meet prefix=KCCONF_MEET_ ;;
    kapps) page=calendar prefix=KCCONF_CALENDAR_ ;;
    *) refuse "SERVICE_TO_START is '$SERVICE_TO_START': this image has meet and kapps only." ;;
esac
writable /tmp
config=/tmp/$page.json
cp "/usr/share/kopano-lab/$page.json" "$config"

# change FILTER ARGUMENT...: run the filter over the configuration.
change() { jq "$@" "$config" >"$config.new" 2>/dev/null && mv "$config.new" "$config"; }

for name in $(compgen -e "$prefix"); do
    # a_b is b in a; dots stay part of a name.
    case ${!name} in
        true|TRUE|false|FALSE|[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9])
            value=${!name}
            change --arg path "${name#"$prefix"}" --argjson value "${value,,}" 'setpath($path | split("_"); $value)' ;;
        *) change --arg path "${name#"$prefix"}" --arg value "${!name}" 'setpath($path | split("_"); $value)' ;;
    esac || refuse "$name cannot be written into config.json: a part of its name is no object there."
done
for app in konnect meet webapp calendar; do
    grid=GRID_${app^^}
    case ${!grid:-yes} in
        yes) change --arg app "kopano-$app" '.apps.enabled += [$app]' ;;
        no) ;;
        *) refuse "$grid is '${!grid}': allowed are yes and no." ;;
    esac
done

waited=0
for file in /etc/machine-id /var/lib/dbus/machine-id; do
    while [ ! -f "$file" ]; do
        [ $((waited += 1)) -le 50 ] || { say "file $file is not there, also after 10 seconds." >&2; exit 123; }
        sleep 0.2
    done
done

cat >/tmp/site.conf <<NGINX
location = /$page { return 301 /$page/; }
location /$page/static/ { alias /var/www/pages/; }
location /$page/ { root /var/www/pages; try_files /$page.html =404; }
location = /api/config/v1/kopano/$page/config.json { alias $config; }
NGINX
banner "Page /$page/."
exec nginx -e stderr -c /etc/nginx/nginx.conf
