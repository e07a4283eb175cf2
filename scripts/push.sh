#!/usr/bin/env bash
# Pushes the images and the chart of target/dist, and prints what each is called, by digest:
#
#   scripts/push.sh REGISTRY[/OWNER]/genesys-mtls
#
#   genesys-mtls-filter:<version>, :<version>-artifact   the module
#   genesys-mtls:<version>                               the tool
#   genesys-mtls-envoy, genesys-mtls-testbed:<version>   Envoy with the module, and what the demo needs around it
#   charts/genesys-mtls-filter:<version>                 the chart
#
# skopeo and helm find their credentials as usual. A registry on 127.0.0.1 speaks HTTP.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=$1
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
dist=target/dist
helm=.tools/mesh/helm
[[ -x $helm ]] || helm=$(command -v helm) || { echo "==> error: no helm: run scripts/mesh.sh helm" >&2; exit 1; }
digest=$(mktemp)
trap 'rm -f "$digest"' EXIT
tls=() plain=()
[[ $name != 127.0.0.1:* ]] || { tls=(--dest-tls-verify=false); plain=(--plain-http); }

# push ARCHIVE TAG-IN-IT IMAGE
push() {
    skopeo copy --quiet --all "${tls[@]}" --digestfile "$digest" "oci-archive:$dist/$1:$2" "docker://$3:$2"
    echo "$3:$2@$(cat "$digest")"
}

push "genesys-mtls-filter-$version.oci.tar" "$version" "$name-filter"
push "genesys-mtls-filter-$version.oci.tar" "$version-artifact" "$name-filter"
push "genesys-mtls-$version-tool.oci.tar" "$version" "$name"
for image in envoy testbed; do push "genesys-mtls-$version-$image.oci.tar" "$version" "$name-$image"; done
pushed=$("$helm" push "${plain[@]}" "$dist/genesys-mtls-filter-$version.tgz" "oci://${name%/*}/charts" 2>&1)
echo "${name%/*}/charts/genesys-mtls-filter:$version@$(sed -n 's/^Digest: //p' <<<"$pushed")"
