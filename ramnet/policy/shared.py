"""Names under which anybody may have something: allowing them allows more than it seems."""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Of the whole list of public suffixes (publicsuffix.org, 10,000 names) those that a list of
# registries could come near to; single labels need no list.
_PUBLIC_SUFFIXES: Final = _words(
    """ac.uk co.uk org.uk gov.uk co.jp ne.jp or.jp co.kr co.in co.za co.nz com.au net.au org.au
    com.br com.cn com.hk com.mx com.sg com.tr com.tw"""
)

# Hosts of clouds and CDNs that every tenant shares.
_TENANTS: Final = _words(
    """amazonaws.com s3.amazonaws.com cloudfront.net elb.amazonaws.com on.aws
    storage.googleapis.com appspot.com run.app web.app pkg.dev
    blob.core.windows.net azureedge.net azurefd.net azurewebsites.net cloudapp.net
    cloudapp.azure.com azurecr.io data.azurecr.io
    r2.cloudflarestorage.com r2.dev workers.dev pages.dev
    github.io githubusercontent.com gitlab.io herokuapp.com vercel.app netlify.app
    digitaloceanspaces.com backblazeb2.com akamaized.net akamaihd.net edgekey.net fastly.net
    ngrok.io ngrok.app trycloudflare.com"""
)

# Single labels that are no public suffix: reserved (RFC 2606, 6761, 6762, 8375, ICANN's
# "internal") or in wide use inside companies.
_PRIVATE: Final = _words(
    """corp example home internal intranet invalid lan local localdomain localhost private test
    onion"""
)


def is_public_suffix(base: str) -> bool:
    """Whether anybody can register a name below ``base``; empty stands for the root."""
    if "." in base:
        return base in _PUBLIC_SUFFIXES
    return base not in _PRIVATE


def is_shared(base: str, *, below: bool) -> bool:
    """Whether ``base`` is a host of many tenants, or with ``below`` has such hosts under it."""
    return base in _TENANTS or (below and any(name.endswith("." + base) for name in _TENANTS))
