"""The node that run.py has started."""

import json
import os
from urllib.request import Request, urlopen


def node_url():
    return os.environ["OPENSEARCH_URL"]


def refresh_soon(pattern):
    """Where a suite waits for each refresh, as it may do a second by default."""
    settings = {"refresh_interval": "20ms", "number_of_shards": 1, "number_of_replicas": 0}
    template = {"index_patterns": [pattern], "template": {"settings": settings}}
    url = f"{node_url()}/_index_template/neighbours"
    put = Request(url, json.dumps(template).encode(), {"Content-Type": "application/json"}, method="PUT")
    urlopen(put, timeout=60).close()
