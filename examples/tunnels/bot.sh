#!/bin/sh
echo "webhooks go to $1 and $2"
echo "listening"
exec sleep 100000
