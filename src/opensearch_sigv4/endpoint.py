"""What the host name of an AWS endpoint says: its service, its region, and what kind of endpoint it is."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

Kind = Literal["domain", "serverless", "pipeline"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One recognised endpoint.

    Attributes:
        service: the name to sign for: `es`, `aoss` or `osis`.
        region: for example `us-east-1`.
        kind: a managed `domain`, a `serverless` collection, or an ingestion `pipeline`.
        fips: whether the name is a FIPS variant.
    """

    service: str
    region: str
    kind: Kind
    fips: bool = False

    @property
    def max_request_bytes(self) -> int:
        """The largest request that an endpoint of this kind may accept.

        A domain on small instances accepts 10 MiB only: its name does not tell, its 413 does. Of Serverless and
        pipelines no limit is published for a `_bulk` request: this is what small domains accept.

        Source: Amazon OpenSearch Service Developer Guide, "Quotas", network limits.
        """
        return (100 if self.kind == "domain" else 10) << 20


_KINDS: Final[dict[str, tuple[str, Kind]]] = {
    "es": ("es", "domain"),
    "aos": ("es", "domain"),
    "aoss": ("aoss", "serverless"),
    "osis": ("osis", "pipeline"),
}

_REGION = r"(?P<region>[a-z]{2,4}(?:-[a-z]+)+-[0-9]+)"
_SERVICE = r"(?P<service>es|aos|aoss|osis)(?P<fips>-fips)?"
# One suffix a partition: aws and aws-us-gov, aws-cn, aws-iso, aws-iso-b, aws-iso-e, aws-iso-f, aws-eusc.
_SUFFIX = r"(?:amazonaws\.com(?:\.cn)?|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov|amazonaws\.eu)"
_DUAL_STACK_SUFFIX = r"(?:on\.aws|on\.amazonwebservices\.(?:com\.cn|eu))"

# search-NAME-ID.REGION.es.amazonaws.com and vpc-...; ID.REGION.aoss.amazonaws.com; NAME-ID.REGION.osis.amazonaws.com
_CLASSIC = re.compile(rf"(?:[a-z0-9_-]+\.)+{_REGION}\.{_SERVICE}\.{_SUFFIX}")
# NAME-ID.aos.REGION.on.aws; ID.aoss.REGION.on.aws and ACCOUNT.aoss.REGION.on.aws
_DUAL_STACK = re.compile(rf"(?:[a-z0-9_-]+\.)+{_SERVICE}\.{_REGION}\.{_DUAL_STACK_SUFFIX}")


@lru_cache(maxsize=256)
def parse_host(host: str) -> Endpoint | None:
    """Read service, region and kind from an AWS host name; None where the name does not tell.

    Custom domains (CNAME), VPC endpoints, tunnels and addresses tell nothing: pass `region=` and `service=`.

    Args:
        host: a name, in any case, with or without a trailing dot or a port.

    Thread-safety: a pure function.

    Source: AWS General Reference, "Amazon OpenSearch Service endpoints and quotas"; OpenSearch Service
    Developer Guide, "Creating collections" for the `on.aws` forms.

    >>> parse_host("search-logs-abc123.eu-central-1.es.amazonaws.com")
    Endpoint(service='es', region='eu-central-1', kind='domain', fips=False)
    >>> parse_host("search.example.com") is None
    True
    """
    name = host.partition(":")[0].rstrip(".").lower()
    match = _CLASSIC.fullmatch(name) or _DUAL_STACK.fullmatch(name)
    if match is None:
        return None
    service, kind = _KINDS[match["service"]]
    return Endpoint(service, match["region"], kind, match["fips"] is not None)
