#!/bin/sh
# Stands in for a tunnel: NAME PORT, or one of the ways in which such programs fail.
case $1 in
--no-account)
    echo "error: no account is logged in; run: tunnel login" >&2
    exit 2
    ;;
--never-connected)
    echo "connecting to the edge ..."
    exec sleep 1000
    ;;
esac
echo "connecting $1 (127.0.0.1:$2) ..."
echo "$1 is at https://$1-$$.tunnel.example"
exec sleep 100000
