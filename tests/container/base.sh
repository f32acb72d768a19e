#!/usr/bin/env bash
# base.sh TAR FOLDER: the files of a base image, made of this machine's own Debian python3 and of the torch its pip
# finds, without a registry. It plays the part of the official PyTorch image; FOLDER keeps what can be used again.
set -euo pipefail
cd "$(dirname "$0")/../.."
tar=$1 folder=$2 venv=${VENV:-.venv}
site=$folder/site parts=$folder/parts
packages=/usr/local/lib/python3.11/dist-packages
here=tests/container

# The wheel for CPUs where pip is set up with one: 0.2 GB in place of 5. torchvision's minor version is torch's plus 15.
torch_packages() {
  local wheels=$folder/wheels
  if "$venv/bin/pip" download -q --no-deps --no-index -d "$wheels" torch 2>/dev/null && ls "$wheels"/torch-*+cpu-* >/dev/null; then
    local version minor
    version=$(basename "$wheels"/torch-*+cpu-*) && version=${version#torch-}
    minor=${version#*.} minor=${minor%%.*}
    "$venv/bin/pip" install -qq --no-deps --target "$site" "$wheels"/torch-*+cpu-*.whl "torchvision==0.$((minor + 15)).*"
    python3 "$here/stub_cuda.py" "$site" "$parts/usr/lib/x86_64-linux-gnu"
  else
    cp -r "$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')"/{torch,torchgen,torchvision,functorch,nvidia,triton}* "$site"
  fi
}

# What torch and torchvision import, in the versions of the lock, and pip itself.
their_packages() {
  local name from
  from=$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')
  for name in filelock fsspec jinja2 markupsafe mpmath networkx numpy numpy.libs pillow pillow.libs PIL pip setuptools \
    sympy typing_extensions; do
    cp -r "$from/$name"* "$site" 2>/dev/null || true
  done
  cp -r "$from"/isympy.py "$from"/[Mm]arkup[Ss]afe* "$site" 2>/dev/null || true
}

# Files of the Debian packages that python3 needs, below /usr where /bin and /lib are links to it.
debian_files() {
  local names
  names="$(dpkg-query -W -f='${Essential} ${Package}\n' | awk '$1 == "yes" { print $2 }')
    python3 python3-venv ca-certificates openssl base-files base-passwd libstdc++6 libgomp1"
  # shellcheck disable=SC2086
  names=$(apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances $names 2>/dev/null | grep -E '^[a-z0-9]' | sort -u)
  # shellcheck disable=SC2046,SC2086
  {
    dpkg -L $(dpkg-query -W -f='${db:Status-Abbrev} ${binary:Package}\n' $names 2>/dev/null | awk '$1 == "ii" { print $2 }') \
      2>/dev/null | grep -vE '^/usr/share/(doc|man|locale|info|bash-completion)/|^/\.$|diver'
    find /etc/ssl/certs /etc/alternatives /usr/local/share/ca-certificates
    printf '%s\n' /bin /sbin /lib /lib64 /etc/passwd /etc/group /usr/bin/awk /usr/bin/which
  } | sed -E 's#^/##; s#^(bin|sbin|lib|lib64)/#usr/\1/#' | sort -u |
    while read -r file; do if [ -e "/$file" ] || [ -L "/$file" ]; then printf '%s\n' "$file"; fi; done
}

rm -rf "$site" "$parts"
mkdir -p "$site" "$folder/wheels" "$parts/etc" "$parts/usr/local/bin" "$parts/usr/lib/x86_64-linux-gnu"
printf '[global]\nbreak-system-packages = true\nroot-user-action = ignore\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$parts/etc/pip.conf"
torch_packages
their_packages
debian_files >"$folder/files"
tar --numeric-owner --no-recursion -C / -cf "$tar.part" -T "$folder/files"
(cd "$parts" && find . -type f -printf '%P\n') | tar --numeric-owner --owner=0 --group=0 -C "$parts" -rf "$tar.part" -T -
tar --numeric-owner --owner=0 --group=0 -C "$site" --exclude=__pycache__ \
  --transform "s#^\./#${packages#/}/#;s#^\.\$#${packages#/}#" -rf "$tar.part" .
mv "$tar.part" "$tar"
rm -rf "$site" "$parts"
