# Shared by the entry scripts of the lab's images: `. /usr/local/lib/lab.sh`.

# say TEXT: one line in the container's log.
say() { printf '%s: %s\n' "${LAB_IMAGE:-lab}" "$*"; }

# refuse TEXT: the reason in one sentence, and no start.
refuse() { say "$*" >&2; exit 64; }

# banner TEXT: nobody may mistake the lab for the real thing.
banner() { say "This is the Kopano lab, a stand-in for tests and closed networks; it is not Kopano. $*"; }

# need NAME...: every named variable has a value.
need() {
    for name in "$@"; do
        eval "value=\${$name-}"
        [ -n "$value" ] || refuse "$name is missing or empty: set it in the container's environment."
    done
    unset value
}

# from_file NAME...: where NAME_FILE is set, NAME becomes the content of that file.
from_file() {
    for name in "$@"; do
        eval "path=\${${name}_FILE-}"
        [ -n "$path" ] || continue
        eval "value=\${$name-}"
        [ -z "$value" ] || refuse "$name and ${name}_FILE are both set: keep one of them."
        [ -r "$path" ] || refuse "${name}_FILE names $path, which cannot be read: mount it readable."
        value=$(cat "$path")
        eval "$name=\$value"
        export "${name?}"
        unset "${name}_FILE"
    done
    unset value path
}

# own USER FOLDER...: only a volume that came with another owner needs the long way through all its files.
own() {
    user=$1; shift
    for folder in "$@"; do
        [ "$(stat -c %U "$folder")" = "$user" ] || chown -R "$user:$user" "$folder" 2>/dev/null \
            || refuse "$folder belongs to another user: add the capabilities CHOWN and DAC_OVERRIDE, or mount it writable."
    done
}

# as_user USER COMMAND...: from root (or as process 1) starts the command anew as that user; else returns at once.
# The order matters: an init that stays root cannot pass SIGTERM on to another user without CAP_KILL.
as_user() {
    user=$1; shift
    if [ "$(id -u)" = 0 ]; then
        exec setpriv --reuid "$user" --regid "$user" --clear-groups dumb-init -- "$@"
    elif [ "$$" = 1 ]; then
        exec dumb-init -- "$@"
    fi
}

# writable FOLDER...: the place for data is there and ours.
writable() {
    for folder in "$@"; do
        [ -w "$folder" ] || refuse "$folder cannot be written: mount a volume there that uid $(id -u) can write."
    done
}

# A first start that is cut off must not leave half a database behind: a mark stands in the data folder until all of it
# is there. What a marked folder holds was made by an unfinished first start, and by nothing else.
MARK=.lab-first-start-unfinished
unfinished() { [ -e "$1/$MARK" ]; }
# begin_first_start FOLDER...: empties them; the mark is in the first one.
begin_first_start() {
    : > "$1/$MARK"
    sync -f "$1/$MARK"
    for folder in "$@"; do
        find "$folder" -mindepth 1 ! -name "$MARK" ! -name lost+found -delete
    done
}
end_first_start() {
    for folder in "$@"; do sync -f "$folder"; done
    rm "$1/$MARK"
}
