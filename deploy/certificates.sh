#!/bin/sh
# Makes what the services of compose.yaml need before they start, once: an authority of our own with a certificate for
# Valkey, one for the proxy until you put yours there, and Valkey's users with the password from the environment.
# In: VALKEY_PASSWORD, SITE_NAME; /templates/users.acl. Out: /tls/*, /site/*, /users/users.acl.
set -eu
: "${VALKEY_PASSWORD:?}" "${SITE_NAME:?}"
TLS=${TLS:-/tls} SITE=${SITE:-/site} USERS=${USERS:-/users} TEMPLATES=${TEMPLATES:-/templates}
umask 022

authority() {
    [ -s "$TLS/ca.crt" ] && return
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -sha256 \
        -subj "/CN=FluxStudio's own authority" -addext "basicConstraints=critical,CA:TRUE" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$TLS/ca.key" -out "$TLS/ca.crt" 2>/dev/null
    chmod 600 "$TLS/ca.key"
}

# certificate DIRECTORY NAME HOST…: renewed thirty days before its end, at the next start.
certificate() {
    directory=$1 name=$2
    shift 2
    if [ -s "$directory/$name.crt" ] && openssl x509 -checkend 2592000 -noout -in "$directory/$name.crt" >/dev/null; then
        return
    fi
    hosts=$(for host in "$@"; do printf 'DNS:%s,' "$host"; done)
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -subj "/CN=$1" \
        -keyout "$directory/$name.key" -out "$directory/$name.csr" 2>/dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n' "${hosts%,}" \
        >"$directory/$name.ext"
    openssl x509 -req -in "$directory/$name.csr" -CA "$TLS/ca.crt" -CAkey "$TLS/ca.key" -CAcreateserial -days 397 \
        -sha256 -extfile "$directory/$name.ext" -out "$directory/$name.crt" 2>/dev/null
    rm -f "$directory/$name.csr" "$directory/$name.ext"
    chmod 644 "$directory/$name.key" # in a volume of its own, which only its service mounts
}

authority
certificate "$TLS" valkey valkey localhost
certificate "$SITE" site "$SITE_NAME" localhost
hash=$(printf '%s' "$VALKEY_PASSWORD" | openssl dgst -sha256 -r | cut -d' ' -f1)
sed "s/PASSWORD_SHA256/$hash/" "$TEMPLATES/users.acl" >"$USERS/users.acl"
echo "Certificates and users are in place."
