#!/bin/sh
# Healthy or not: whether the service that this container runs answers.
set -eu
case "$SERVICE_TO_START" in
    kapi) exec curl -fsS -o /dev/null "http://127.0.0.1:${KCCONF_KAPID_LISTEN##*:}/health-check" ;;
    # Root has no right to open what belongs to others here.
    grapi) exec setpriv --reuid kopano --regid kopano --clear-groups curl -fsS -o /dev/null --unix-socket /run/kopano/grapi/rest0.sock http://grapi/health-check ;;
esac
