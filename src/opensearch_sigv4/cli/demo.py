"""`opensearch-sigv4 demo`: documents that every machine has, indexed and searched with signed requests."""

import ast
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from typing import Any

import click
from opensearchpy import NotFoundError, OpenSearch

from .. import helpers

MAX_DOCSTRING_FILES = 1000
QUESTIONS = ("sign requests", "http client", "parse", "json")


def run(client: OpenSearch, index: str) -> bool:
    """Index, search and report; True when every document was indexed and found."""
    try:
        version = client.info()["version"]
        click.echo(f"{version.get('distribution', 'opensearch')}: {version['number']}")
    except NotFoundError:
        click.echo("opensearch: Serverless (it tells no version)")

    actions = [{"_index": index, "_id": document["id"], "_source": document} for document in documents()]
    indexed, errors = helpers.bulk(client, actions, raise_on_error=False)
    click.echo(f"{indexed} documents indexed into {index}, {len(errors)} refused")

    if not client.transport.perform_request("POST", f"/{index}/_refresh", params={"ignore": 404}):
        click.echo("documents become searchable later here")
    for question in QUESTIONS:
        query = {"multi_match": {"query": question, "fields": ["summary", "docstring", "name"]}}
        hits = client.search(index=index, body={"query": query, "size": 3})["hits"]["hits"]
        found = ", ".join(f"{hit['_source']['name']} {hit['_source'].get('version', '')}".strip() for hit in hits)
        click.echo(f"  {question!r}: {found or 'nothing'}")
    return not errors and indexed == len(actions)


def documents() -> Iterator[dict[str, Any]]:
    """The metadata of each installed distribution, and the docstring of each of its packages and modules."""
    left = MAX_DOCSTRING_FILES
    seen: set[str] = set()
    for distribution in distributions():
        metadata = distribution.metadata.json
        name = metadata.get("name")
        if not isinstance(name, str) or name in seen:
            continue
        seen.add(name)
        yield {
            "id": name,
            "name": name,
            "version": distribution.version,
            "summary": metadata.get("summary", ""),
            "requires": distribution.requires or [],
        }
        for module, docstring in _docstrings(distribution):
            if left == 0:
                break
            left -= 1
            if docstring:
                yield {
                    "id": f"{name}/{module}",
                    "name": module,
                    "version": distribution.version,
                    "docstring": docstring,
                }


def _docstrings(distribution: Distribution) -> Iterator[tuple[str, str | None]]:
    for file in distribution.files or ():
        if file.suffix == ".py" and len(file.parts) <= 2:
            try:
                source = file.read_text()
                yield ".".join(file.with_suffix("").parts), ast.get_docstring(ast.parse(source))
            except (OSError, SyntaxError, ValueError):
                continue  # removed, not UTF-8, or for another Python: not a document
