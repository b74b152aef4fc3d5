#!/bin/sh
# Builds the connector's image: sh connectors/rabbitmq/image.sh IMAGE [BUILD OPTION...]
# with $BUILDER, otherwise with the first of docker, buildah and podman that works.
set -eu
image=$1
shift
cd "$(dirname "$0")/../.."

works() { command -v "$1" >/dev/null && "$1" info >/dev/null 2>&1; }
builder=${BUILDER-}
for candidate in docker buildah podman; do
	if [ -z "$builder" ] && works "$candidate"; then
		builder=$candidate
	fi
done
if [ -z "$builder" ]; then
	echo "build $image: neither docker, buildah nor podman works here: install one, such as with \`apt-get install buildah\`, or start Docker's daemon" >&2
	exit 1
fi

revision=$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)
set -- --file connectors/rabbitmq/Dockerfile --tag "$image" \
	--build-arg VERSION="$(cat VERSION)" --build-arg REVISION="$revision" "$@"
case $builder in
*docker) ;;
# buildah and Podman of Debian 12 do not set BUILDPLATFORM.
*) set -- --build-arg BUILDPLATFORM="linux/$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')" "$@" ;;
esac
"$builder" build "$@" .
echo "built $image with $builder"
