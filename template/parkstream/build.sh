#!/bin/sh
# Builds a function: sh build.sh FUNCTION OUTPUT
# and writes the notices of what is linked into it: OUTPUT.notices
#
# It runs in a build context as faas-cli makes it, where the function's folder and
# what stack.yml names under configuration.copy lie together in function/. It puts
# them back to their places in the repository, so that their imports hold. The
# Dockerfile runs it, and so does test/buildcontext_test.go.
set -eu
function=$1
output=$2

mkdir -p functions cmd/handler
mv function/go.mod function/go.sum function/LICENSE function/docs function/shared .
mv function "functions/$function"
sed "s#parkstream/template/parkstream/function#parkstream/functions/$function#" main.go >cmd/handler/main.go
rm main.go
sh compile.sh ./cmd/handler "$output" "-X main.name=$function"
