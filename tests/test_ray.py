"""README's example for Ray Data. `.ci/full cluster` brings Ray, which is no extra of this package."""

import warnings

import pytest

ray = pytest.importorskip("ray", reason="needs ray[data]: .ci/full cluster")
pytest.importorskip("ray.data", reason="needs ray[data]: .ci/full cluster")

from clusters import documents, from_readme  # noqa: E402
from opensearch_sigv4.testing import Fault, LocalDomain  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()


def test_readmes_example(cluster, running_judge, judge):
    loaded = documents()
    with LocalDomain(upstream=running_judge.url) as domain:
        throttled = iter(range(3))
        domain.faults = lambda request: Fault.throttled() if next(throttled, None) is not None else None
        keys = domain.credentials
        code = {
            '"https://search-logs-abc123.eu-central-1.es.amazonaws.com"': repr(domain.url),
            "url=url": f"url=url, region={domain.region!r}, credentials=__import__('types').SimpleNamespace("
            f"access_key={keys.access_key!r}, secret_key={keys.secret_key!r}, token=None)",
        }
        summary = from_readme("save_dataset", **code)(ray.data.from_items(loaded).repartition(6))
        assert summary.indexed == summary.documents == len(loaded)
        assert domain.refused == 0
    assert judge.executions("package") == {document["package"]: 1 for document in loaded}
