#!/bin/sh
# Makes an operator for nats-server.conf with `nsc` (https://github.com/nats-io/nsc): the accounts SYS, AUTH (the callout)
# and APP, natsgate's users with no more rights than they need, the break-glass user and the sentinel.
#
#   make-operator.sh FOLDER
#
#   FOLDER/operator.conf     for nats-server.conf, on every server; public
#   FOLDER/sentinel.creds    for clients of servers without default_sentinel; may be public: it opens nothing
#   FOLDER/natsgate.env      public keys for natsgate's environment (../../natsgate/shim.yaml)
#   FOLDER/secrets/          for natsgate, except break-glass.creds: that one goes into a safe
#   FOLDER/nsc/              all of nsc's keys, the operator's among them: take it off this machine when done
#
# An operator that exists already: run the same commands from "The callout account" on against it, then `nsc push -A`.
set -eu
umask 077

out=${1:?usage: make-operator.sh FOLDER}
command -v nsc >/dev/null || { echo "make-operator.sh: nsc is missing: https://github.com/nats-io/nsc" >&2; exit 1; }
if [ -e "$out/nsc" ]; then
  echo "make-operator.sh: $out/nsc exists already; name another folder, or remove it with all its keys" >&2
  exit 1
fi
mkdir -p "$out/secrets"

nsc() { command nsc --all-dirs "$out/nsc" "$@"; }
# A new key: the seed to a file, the public key to standard output.
key() { nsc generate nkey "$1" > "$2.both"; sed -n 1p "$2.both" > "$2"; sed -n 2p "$2.both"; rm "$2.both"; }
account_of() { nsc describe account --name "$1" --field sub | tr -d '"'; }
user_of() { nsc describe user --account "$1" --name "$2" --field sub | tr -d '"'; }
creds() { nsc generate creds --account "$1" --name "$2" --output-file "$out/$3"; }

nsc add operator --name natsgate --sys --generate-signing-key

# Where clients live. natsgate signs their users with a signing key of this account, not with the account's own.
nsc add account --name APP
app_signing=$(key --account "$out/secrets/app-signing.nk")
nsc edit account --name APP --sk "$app_signing"

# The callout account. natsgate signs its answers with a signing key of it; requests and answers are sealed.
nsc add account --name AUTH
auth_signing=$(key --account "$out/secrets/auth-signing.nk")
nsc edit account --name AUTH --sk "$auth_signing"
xkey=$(key --curve "$out/secrets/xkey.nk")

# natsgate's user there: takes requests, answers each once.
nsc add user --account AUTH --name callout \
  --allow-sub '$SYS.REQ.USER.AUTH' --allow-sub '_INBOX.natsgate.>' \
  --allow-pub '$SYS.REQ.USER.INFO' \
  --allow-pub-response=1 --response-ttl 10s

# auth-user: who is not sent to the callout. allowed-account: where a session may go; AUTH itself always may be, which
# natsgate refuses by itself.
nsc edit authcallout --account AUTH \
  --auth-user "$(user_of AUTH callout)" --allowed-account "$(account_of APP)" --curve "$xkey"

# What clients present that have nothing but a token: a user of AUTH that may do nothing and proves nothing. It only leads
# them to the callout.
nsc add user --account AUTH --name sentinel --bearer --deny-pubsub '>'

# natsgate's users in the system account. Watches: which servers there are, and which connections they have.
nsc add user --account SYS --name watch \
  --allow-sub '$SYS.SERVER.*.STATSZ' --allow-sub '$SYS.SERVER.*.SHUTDOWN' \
  --allow-sub '$SYS.ACCOUNT.*.CONNECT' --allow-sub '$SYS.ACCOUNT.*.DISCONNECT' --allow-sub '_INBOX.natsgate.>' \
  --allow-pub '$SYS.REQ.SERVER.*.IDZ' --allow-pub '$SYS.REQ.SERVER.*.CONNZ' \
  --allow-pub '$SYS.REQ.SERVER.*.STATSZ' --allow-pub '$SYS.REQ.USER.INFO' \
  --allow-pub '$SYS.REQ.SERVER.*.ACCOUNTZ' --allow-pub '$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP' \
  --allow-sub '$SYS.REQ.CLAIMS.UPDATE' --allow-sub '$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE'

# Writes: looks account JWTs up, pushes them, and reads back what servers have in force (`natsgate account`, accounts.system).
nsc add user --account SYS --name write \
  --allow-sub '_INBOX.natsgate.>' \
  --allow-pub '$SYS.REQ.CLAIMS.UPDATE' --allow-pub '$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP' \
  --allow-pub '$SYS.REQ.SERVER.*.ACCOUNTZ' --allow-pub '$SYS.REQ.SERVER.*.CONNZ' \
  --allow-pub '$SYS.REQ.SERVER.*.STATSZ' --allow-pub '$SYS.REQ.USER.INFO'

# Kicks: closes connections that cannot be answered in time, and those that rest on what was revoked.
nsc add user --account SYS --name evict \
  --allow-sub '_INBOX.natsgate.>' \
  --allow-pub '$SYS.REQ.SERVER.*.KICK' --allow-pub '$SYS.REQ.USER.INFO'

# For the day the callout is down. APP has no callout of its own, so the server lets in whoever has a user JWT of APP's own
# making, and natsgate is not asked. (So does any other user that nsc adds to APP: add no others.)
# With permissions of its own: without any it would get the account's default permissions.
nsc add user --account APP --name break-glass --allow-pubsub '>'

creds AUTH callout secrets/callout.creds
creds AUTH sentinel sentinel.creds
creds SYS watch secrets/watch.creds
creds SYS evict secrets/evict.creds
creds SYS write secrets/write.creds
creds APP break-glass secrets/break-glass.creds

{
  echo "operator: $(nsc describe operator --raw)"
  echo "system_account: $(account_of SYS)"
  echo "resolver_preload {"
  for account in SYS AUTH APP; do
    echo "  $(account_of "$account"): $(nsc describe account --name "$account" --raw)"
  done
  echo "}"
  echo "default_sentinel: $(nsc describe user --account AUTH --name sentinel --raw)"
} > "$out/operator.conf"
chmod 644 "$out/operator.conf" "$out/sentinel.creds"

{
  echo "NATSGATE_AUTH_ACCOUNT=$(account_of AUTH)"
  echo "NATSGATE_APP_ACCOUNT=$(account_of APP)"
} > "$out/natsgate.env"

echo "made $out/operator.conf, $out/natsgate.env, $out/sentinel.creds and $out/secrets"
