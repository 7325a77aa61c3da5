#!/bin/sh
# Healthy or not, said by the check of the service that this container runs.
. /kopano/health/lib.sh
check="/kopano/health/${SERVICE_TO_START}.sh"
[ -r "$check" ] || unhealthy "there is no check for SERVICE_TO_START=${SERVICE_TO_START}"
. "$check"
