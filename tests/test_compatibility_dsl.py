"""Compatibility with opensearch-py: its DSL on a real OpenSearch, over its connections and over ours.

Each test has the client that `connections.create_connection` makes, as programs have it.
"""

import inspect
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from types import SimpleNamespace
from typing import ClassVar

import opensearchpy
import pytest
from opensearchpy import (
    A,
    Date,
    DateHistogramFacet,
    HistogramFacet,
    InnerDoc,
    Integer,
    Keyword,
    Nested,
    Object,
    Q,
    RangeFacet,
    TermsFacet,
    Text,
    analyzer,
)
from opensearchpy import helpers as opensearchpy_helpers
from opensearchpy._async.helpers.document import AsyncDocument
from opensearchpy._async.helpers.faceted_search import AsyncFacetedSearch
from opensearchpy._async.helpers.index import AsyncIndex, AsyncIndexTemplate
from opensearchpy._async.helpers.search import AsyncMultiSearch, AsyncSearch
from opensearchpy._async.helpers.update_by_query import AsyncUpdateByQuery
from opensearchpy.connection.async_connections import async_connections
from opensearchpy.connection.connections import connections

import opensearch_sigv4
import sides
from opensearch_sigv4 import helpers
from real_node import RUN
from sides import Difference, Like

INDEX = f"{RUN}dsl-articles"
OTHER = f"{RUN}dsl-others"
LIBRARY = f"{RUN}dsl-library"  # what is only read
SHARDS = {"number_of_shards": 1, "number_of_replicas": 0}

# What the node makes up: the ids of indices (22 characters) and of documents (20), and when an index was made.
MADE_UP = [(r"""(?:(?<=["'/])|^)[\w-]{20}(?:[\w-]{2})?(?=["'\]]|$)""", "<id>"), (r"\b\d{13}\b", "<ms>")]

NO_INFO = "opensearch-py's aiohttp connection does not tell its errors that the answer is JSON"
INFO = Difference("error.info", None, Like(r"\{.*"), NO_INFO, over="aiohttp")
ERROR = [
    INFO,
    Difference("error.error", Like(r'\{"error".*'), Like(r"\w+_exception"), NO_INFO, over="aiohttp"),
    Difference("error.text", Like(r".*\{.error.*"), Like(r"\w+\(\d+, '\w+_exception', .*"), NO_INFO, over="aiohttp"),
]


def accepted(pair):
    """The same pair, whose opensearch-py signs what a LocalDomain accepts.

    Older ones leave `x-amz-content-sha256` unsigned: there our signers, of the same names, sign for its connections.
    """
    signed = pair.signing(pair.theirs)["http_auth"]("GET", "http://localhost/", None)["Authorization"]
    if "x-amz-content-sha256" not in signed:
        pair._auth = getattr(opensearch_sigv4, pair._auth.__name__)
    return pair


class Author(InnerDoc):
    name = Text(fields={"raw": Keyword()})
    age = Integer()


class Comment(InnerDoc):
    text = Text()
    stars = Integer()


def article(document):
    class Article(document):
        title = Text(analyzer=analyzer("osv4_words", tokenizer="standard", filter=["lowercase"]), required=True)
        tags = Keyword(multi=True)
        published = Date()
        views = Integer()
        author = Object(Author)
        comments = Nested(Comment)

        class Index:
            name = INDEX
            settings = SHARDS

        def save(self, **options):
            self.views = self.views or 0
            return super().save(**options)

    return Article


def article_search(faceted_search):
    class ArticleSearch(faceted_search):
        index = LIBRARY
        fields = ("title^5",)
        facets: ClassVar = {
            "tags": TermsFacet(field="tags"),
            "months": DateHistogramFacet(field="published", calendar_interval="month"),
            "views": HistogramFacet(field="views", interval=10),
            "popular": RangeFacet(field="views", ranges=[("few", (None, 20)), ("many", (20, None))]),
        }

    return ArticleSearch


SYNC = SimpleNamespace(
    Document=article(opensearchpy.Document),
    Search=opensearchpy.Search,
    MultiSearch=opensearchpy.MultiSearch,
    UpdateByQuery=opensearchpy.UpdateByQuery,
    Index=opensearchpy.Index,
    IndexTemplate=opensearchpy.IndexTemplate,
    FacetedSearch=article_search(opensearchpy.FacetedSearch),
    connections=connections,
    bulk=(opensearchpy_helpers.bulk, helpers.bulk),
)
ASYNC = SimpleNamespace(
    Document=article(AsyncDocument),
    Search=AsyncSearch,
    MultiSearch=AsyncMultiSearch,
    UpdateByQuery=AsyncUpdateByQuery,
    Index=AsyncIndex,
    IndexTemplate=AsyncIndexTemplate,
    FacetedSearch=article_search(AsyncFacetedSearch),
    connections=async_connections,
    bulk=(opensearchpy_helpers.async_bulk, helpers.async_bulk),
)


class Dsl:
    """The DSL of a pair, and `do`, which awaits what has to be awaited and lists what has to be iterated."""

    def __init__(self, pair, domain):
        self.pair, self.domain = pair, domain
        self.classes = SYNC if pair.over == "urllib3" else ASYNC

    def __getattr__(self, name):
        return getattr(self.classes, name)

    @cached_property
    def settings(self):
        """For each side, what a program's settings would say."""
        return {
            side: {"hosts": self.domain.url, "connection_class": side, **self.pair.signing(side)}
            for side in (self.pair.theirs, self.pair.ours)
        }

    def do(self, result):
        if inspect.isasyncgen(result):
            result = _collected(result)
        if inspect.iscoroutine(result):
            return self.pair._run(result)
        return list(result) if inspect.isgenerator(result) else result

    @contextmanager
    def created(self, connection_class, **options):
        """The default connection, made by `create_connection`."""
        client = self.do(self.connections.create_connection(**self.settings[connection_class], **options))
        try:
            yield client
        finally:
            self.do(self.connections.remove_connection("default"))
            self.do(client.close())

    @contextmanager
    def nothing(self, connection_class):
        """No connection; `connections` is as it was afterwards."""
        try:
            yield self.settings[connection_class]
        finally:
            for client in self.connections._conns.values():
                self.do(client.close())
            self.connections._conns.clear()
            self.do(self.connections.configure())

    def same(self, call, **options):
        return self.pair.same(call, self.domain, **{"make": self.created, **options})


async def _collected(results):
    return [result async for result in results]


@pytest.fixture
def dsl(signed_pair, real_domain, real_node, monkeypatch):
    monkeypatch.setattr(sides, "PLAIN", [*sides.PLAIN, *MADE_UP])
    return Dsl(accepted(signed_pair), real_domain)


def _remove(node, *indices):
    node.ask("DELETE", f"/{','.join(indices)}?ignore_unavailable=true")


ARTICLES = [
    ("Signing a request", ["aws", "python"], "2026-01-05", 31),
    ("Signing in the rain", ["film"], "2026-01-09", 7),
    ("A request for tea", ["tea", "film"], "2026-02-01", 12),
    ("Nothing: ü 日本 🙂", [], "2026-03-01", 40),
]


def source(number):
    title, tags, published, views = ARTICLES[number]
    author = {"name": f"Ada {number}", "age": 30 + number}
    comments = [{"text": f"comment {number}", "stars": number}]
    return {
        "title": title,
        "tags": tags,
        "published": published,
        "views": views,
        "author": author,
        "comments": comments,
    }


def _fill(node, index):
    lines = [line for number in range(len(ARTICLES)) for line in ({"index": {"_id": str(number)}}, source(number))]
    assert not node.ask("POST", f"/{index}/_bulk?refresh=true", lines)["errors"]


@pytest.fixture(scope="module")
def mapping():
    """Of an index that `Document.init` would make."""
    return SYNC.Document._index.to_dict()


@pytest.fixture(scope="module")
def library(real_node, mapping):
    """An index of `ARTICLES` that no test writes to."""
    _remove(real_node, LIBRARY)
    real_node.ask("PUT", f"/{LIBRARY}", mapping)
    _fill(real_node, LIBRARY)
    yield
    _remove(real_node, LIBRARY)


@pytest.fixture
def no_indices(real_node):
    """Called before each side; and so are the next two."""
    yield lambda: _remove(real_node, INDEX, OTHER)
    _remove(real_node, INDEX, OTHER)


@pytest.fixture
def empty(no_indices, real_node, mapping):
    """An index that `Document.init` would make."""

    def make():
        no_indices()
        real_node.ask("PUT", f"/{INDEX}", mapping)

    return make


@pytest.fixture
def filled(empty, real_node):
    """The same, with `ARTICLES`."""

    def make():
        empty()
        _fill(real_node, INDEX)

    return make


# --- documents ---------------------------------------------------------------------------------------------------


def init(dsl):
    dsl.do(dsl.Document.init())
    dsl.do(dsl.Document.init())  # an index that is there
    mapping = dsl.do(dsl.Document._index.get_mapping())
    return mapping, dsl.do(dsl.Document._index.exists())


@pytest.mark.row("`Document`")
def test_init(dsl, no_indices):
    theirs, _ = dsl.same(lambda client: init(dsl), before=no_indices)
    assert theirs.value[1] is True


def new(dsl, **more):
    return dsl.Document(
        meta={"id": "new"}, title="New ü", published=datetime(2026, 5, 1, tzinfo=UTC), author=Author(name="Ada"), **more
    )


def save(dsl):
    document = new(dsl, tags=["a", "b"])
    return dsl.do(document.save(refresh=True)), dsl.do(document.save()), document.meta.to_dict(), document.to_dict()


def save_whole_answer(dsl):
    return dsl.do(new(dsl).save(return_doc_meta=True))


def save_stale(dsl):
    stale = dsl.do(dsl.Document.get("0"))
    dsl.do(dsl.do(dsl.Document.get("0")).save())
    dsl.do(stale.save())


def save_invalid(dsl):
    dsl.do(dsl.Document(views=1).save())


def save_refused(dsl):
    document = new(dsl)
    document.published = "no date"
    dsl.do(document.save(validate=False))


def save_anywhere(dsl):
    dsl.do(new(dsl).save(index=f"{RUN}*"))


def get(dsl):
    document = dsl.do(dsl.Document.get("3"))
    return document.to_dict(include_meta=True), document.author.name, document.comments[0].stars


def get_missing(dsl):
    return dsl.do(dsl.Document.get("no"))


def get_missing_ignored(dsl):
    return dsl.do(dsl.Document.get("no", ignore=404))


def exists(dsl):
    return dsl.do(dsl.Document.exists("0")), dsl.do(dsl.Document.exists("no"))


def mget(dsl):
    found = dsl.do(dsl.Document.mget(["0", "no", "2"]))
    fewer = dsl.do(dsl.Document.mget(["0", "no", {"_id": "2"}], missing="skip"))
    return [document and document.title for document in found], [document.title for document in fewer]


def mget_missing(dsl):
    dsl.do(dsl.Document.mget(["0", "no"], missing="raise"))


def update(dsl):
    document = dsl.do(dsl.Document.get("1"))
    done = dsl.do(document.update(title="New", author={"age": 99}, refresh=True))
    again = dsl.do(document.update(title="New"))
    by_script = dsl.do(document.update(script="ctx._source.views += params.n", n=3, retry_on_conflict=2))
    return done, again, by_script, document.to_dict(), dsl.do(dsl.Document.get("1")).to_dict()


def update_nothing(dsl):
    dsl.do(dsl.do(dsl.Document.get("1")).update())


def update_of_no_document(dsl):
    dsl.do(new(dsl).update(title="x"))


def delete(dsl):
    document = dsl.do(dsl.Document.get("1"))
    dsl.do(document.delete(refresh=True))
    return dsl.do(dsl.Document.search().count())


def delete_twice(dsl):
    dsl.do(new(dsl).delete())


def search(dsl):
    hits = dsl.do(dsl.Document.search().query("match", title="signing").sort("views").execute())
    return [(type(hit).__name__, hit.title, str(hit.published), hit.meta.id) for hit in hits]


DOCUMENT = [
    *(save, save_whole_answer, save_stale, save_invalid, save_refused, save_anywhere),
    *(get, get_missing, get_missing_ignored, exists, mget, mget_missing),
    *(update, update_nothing, update_of_no_document, delete, delete_twice, search),
]
RAISES = {
    "save_stale": ("ConflictError", ERROR),
    "save_invalid": ("ValidationException", []),
    "save_refused": ("RequestError", ERROR),
    "save_anywhere": ("ValidationException", []),
    "get_missing": ("NotFoundError", [INFO]),
    "mget_missing": ("NotFoundError", []),
    "update_nothing": ("IllegalOperation", []),
    "update_of_no_document": ("NotFoundError", ERROR),
    "delete_twice": ("NotFoundError", [INFO]),
}


def by_name(functions):
    return pytest.mark.parametrize("call", functions, ids=lambda call: call.__name__)


def same_or_raises(dsl, call, raises, before=None):
    """A comparison of a call that raises what `raises` says, or nothing."""
    error, differs = raises.get(call.__name__, (None, []))
    theirs, _ = dsl.same(lambda client: call(dsl), before=before, differs=differs)
    assert (theirs.error and theirs.error["type"]) == error


@pytest.mark.row("`Document`")
@by_name(DOCUMENT)
def test_document(dsl, filled, call):
    same_or_raises(dsl, call, RAISES, filled)


@pytest.mark.row("`Document`")
@pytest.mark.parametrize("helper", [0, 1], ids=["their helper", "our helper"])
def test_documents_in_bulk(dsl, empty, helper):
    """Whose serializer is the DSL's own."""

    def call(client):
        documents = [new(dsl, tags=[str(n)]) for n in range(3)]
        for number, document in enumerate(documents):
            document.meta.id = str(number)
        actions = [document.to_dict(include_meta=True) for document in documents]
        actions.append({"_index": INDEX, "_id": "attr", **documents[0].to_dict(), "author": documents[0].author})
        done = dsl.do(dsl.bulk[helper](client, actions, refresh=True))
        return done, [dsl.do(dsl.Document.get(_id)).to_dict() for _id in ("0", "1", "2", "attr")]

    theirs, _ = dsl.same(call, before=empty)
    assert theirs.value[0] == [4, []]


# --- searches ----------------------------------------------------------------------------------------------------


def titles(hits):
    return [hit.title for hit in hits]


def queries(dsl):
    both = Q("match", title="request") & ~Q("term", tags="film") | Q("range", views={"gte": 40})
    found = dsl.Search(index=LIBRARY).query(both).sort("-views")
    nested = Q("nested", path="comments", query=Q("term", comments__stars=2))
    return [
        titles(dsl.do(search.execute()))
        for search in (
            found,
            dsl.Search(index=LIBRARY).filter("terms", tags=["film"]).exclude("match", title="tea"),
            dsl.Search(index=LIBRARY).query(nested),
            dsl.Search(index=LIBRARY).query("query_string", query="title:(signing AND NOT rain)"),
            dsl.Search(index=[LIBRARY]).query("match", title="日本"),
        )
    ]


def pages(dsl):
    everything = dsl.Search(index=LIBRARY).sort("views")
    return [titles(dsl.do(search.execute())) for search in (everything[0:2], everything[2:4], everything[3])]


def whole_answer(dsl):
    search = dsl.Search(index=LIBRARY).query("match", title="signing").sort("views")
    search = search.highlight("title", fragment_size=50).source(includes=["title"]).extra(track_total_hits=True)
    answer = dsl.do(search.execute())
    highlights = [hit.meta.highlight.title[0] for hit in answer]
    return answer.success(), answer.hits.total.to_dict(), highlights, answer.to_dict()["hits"]


def aggregations(dsl):
    search = dsl.Search(index=LIBRARY)[:0]
    search.aggs.bucket("tags", "terms", field="tags", order={"_key": "asc"}).metric("views", "avg", field="views")
    search.aggs.metric("most", A("max", field="views"))
    answer = dsl.do(search.execute()).aggregations
    return answer.most.value, [(bucket.key, bucket.doc_count, bucket.views.value) for bucket in answer.tags.buckets]


def suggestions(dsl):
    search = dsl.Search(index=LIBRARY).suggest("words", "sinning", term={"field": "title"})
    return dsl.do(search.execute()).suggest.to_dict()


def script_fields_and_collapse(dsl):
    search = dsl.Search(index=LIBRARY).script_fields(double="doc['views'].value * 2").sort("views")
    return dsl.do(search.execute()).to_dict()["hits"]


def from_dict(dsl):
    body = {"query": {"match": {"title": "tea"}}, "aggs": {"n": {"value_count": {"field": "views"}}}, "size": 1}
    search = dsl.Search.from_dict(body).index(LIBRARY)
    answer = dsl.do(search.execute())
    return titles(answer), answer.aggregations.n.value, search.to_dict()


def count(dsl):
    return dsl.do(dsl.Search(index=LIBRARY).query("match", title="signing").count())


def executed_once(dsl):
    search = dsl.Search(index=LIBRARY).query("match", title="tea")
    first = dsl.do(search.execute())
    return dsl.do(search.execute()) is first, dsl.do(search.execute(ignore_cache=True)) is first


def scan(dsl):
    return sorted(titles(dsl.do(dsl.Search(index=LIBRARY).params(size=2).scan())))


def delete_by_query(dsl):
    deleted = dsl.do(dsl.Search(index=INDEX).query("term", tags="film").params(refresh=True).delete())
    return deleted.deleted, dsl.do(dsl.Search(index=INDEX).count())


def params(dsl):
    search = dsl.Search(index=[LIBRARY, OTHER]).params(ignore_unavailable=True, request_timeout=30, preference="_local")
    return dsl.do(search.count()), sorted(titles(dsl.do(search.execute())))


def no_index(dsl):
    dsl.do(dsl.Search(index=OTHER).execute())


def no_query(dsl):
    dsl.do(dsl.Search(index=LIBRARY).update_from_dict({"size": -5}).execute())


def negative(dsl):
    dsl.Search(index=LIBRARY)[-1:]


def several(dsl):
    searches = dsl.MultiSearch(index=LIBRARY)
    searches = searches.add(dsl.Search().query("match", title="tea")).add(dsl.Search(index=LIBRARY).sort("views"))
    return [titles(answer) for answer in dsl.do(searches.execute())]


def several_of_which_one_fails(dsl):
    searches = dsl.MultiSearch(index=LIBRARY).add(dsl.Search().query("match_all")).add(dsl.Search(index=OTHER))
    answers = dsl.do(searches.execute(raise_on_error=False))
    assert [answer is None for answer in answers] == [False, True]
    dsl.do(searches.execute(ignore_cache=True))


SEARCH = [
    *(queries, pages, whole_answer, aggregations, suggestions, script_fields_and_collapse, from_dict, count),
    *(executed_once, scan, params, no_index, no_query, negative),
]
SEARCH_RAISES = {
    "no_index": ("NotFoundError", ERROR),
    "no_query": ("RequestError", ERROR),
    "negative": ("ValueError", []),
    "several_of_which_one_fails": ("TransportError", []),
}


@pytest.mark.row("`Search`, `Q`, `A`")
@by_name(SEARCH)
def test_search(dsl, library, call):
    same_or_raises(dsl, call, SEARCH_RAISES)


@pytest.mark.row("`Search`, `Q`, `A`")
def test_delete_by_query(dsl, filled):
    same_or_raises(dsl, delete_by_query, {}, filled)


@pytest.mark.row("`MultiSearch`")
@by_name([several, several_of_which_one_fails])
def test_multi_search(dsl, library, call):
    same_or_raises(dsl, call, SEARCH_RAISES)


@pytest.mark.row("`FacetedSearch`")
@pytest.mark.parametrize(
    ("query", "filters"), [(None, {}), ("signing", {"tags": "film"}), ("request", {"popular": ["few"]})]
)
def test_faceted_search(dsl, library, query, filters):
    def call(client):
        search = dsl.FacetedSearch(query, filters=filters, sort=["-views"])
        answer = dsl.do(search[0:2].execute())
        return answer.facets.to_dict(), titles(answer), dsl.do(search.count())

    theirs, _ = dsl.same(call)
    assert theirs.value[1]


# --- updates by query --------------------------------------------------------------------------------------------


def updates(dsl):
    update = dsl.UpdateByQuery(index=INDEX).query("match", title="signing").filter("term", tags="film")
    update = update.script(source="ctx._source.views = params.n", lang="painless", params={"n": 1}).params(refresh=True)
    answer = dsl.do(update.execute())
    return answer.success(), answer.updated, dsl.do(dsl.Document.get("1")).views


def updates_refused(dsl):
    dsl.do(dsl.UpdateByQuery(index=INDEX).script(source="no script (").execute())


@pytest.mark.row("`UpdateByQuery`")
@by_name([updates, updates_refused])
def test_update_by_query(dsl, filled, call):
    same_or_raises(dsl, call, {"updates_refused": ("RequestError", ERROR)}, filled)


# --- indices -----------------------------------------------------------------------------------------------------


def other(dsl):
    index = dsl.Index(OTHER)
    index.settings(**SHARDS)
    index.aliases(**{f"{RUN}dsl-alias": {}})
    index.document(dsl.Document)
    index.analyzer(analyzer("osv4_lower", tokenizer="standard", filter=["lowercase"]))
    return index


def index_lives(dsl):
    index = other(dsl)
    return [
        dsl.do(step())
        for step in (
            *(index.exists, index.create, index.exists, index.get_mapping, index.get_alias, index.refresh),
            lambda: index.put_settings(body={"index": {"refresh_interval": "5s"}}),
            lambda: index.put_mapping(body={"properties": {"more": {"type": "keyword"}}}),
            lambda: index.get_field_mapping(fields="more"),
            lambda: index.analyze(body={"analyzer": "osv4_lower", "text": "ABC Ü"}),
            lambda: index.exists_alias(name=f"{RUN}dsl-alias"),
            *(index.close, index.is_closed, index.open, index.clear_cache, index.delete, index.exists),
        )
    ]


def index_saved(dsl):
    index = other(dsl)
    dsl.do(index.save())
    dsl.do(index.save())  # one that is there
    return dsl.do(dsl.Index(OTHER).get_mapping())


def index_created_twice(dsl):
    dsl.do(other(dsl).create())
    dsl.do(other(dsl).create())


def index_missing(dsl):
    return dsl.do(dsl.Index(OTHER).delete(ignore=404)), dsl.do(dsl.Index(OTHER).get(ignore_unavailable=True))


def index_missing_raises(dsl):
    dsl.do(dsl.Index(OTHER).get_settings())


def index_searched(dsl):
    return dsl.do(dsl.Index(INDEX).search().query("match", title="tea").count())


def index_template(dsl):
    template = dsl.IndexTemplate(f"{RUN}dsl", f"{OTHER}*", index=other(dsl), order=3)
    return dsl.do(template.save()), template.to_dict()


INDEX_RAISES = {"index_created_twice": ("RequestError", ERROR), "index_missing_raises": ("NotFoundError", ERROR)}


@pytest.mark.row("`Index`, `IndexTemplate`")
@by_name([index_lives, index_saved, index_created_twice, index_missing, index_missing_raises, index_searched])
def test_index(dsl, filled, call):
    same_or_raises(dsl, call, INDEX_RAISES, filled)


@pytest.mark.row("`Index`, `IndexTemplate`")
def test_index_template(dsl, real_node):
    try:
        dsl.same(lambda client: index_template(dsl))
        assert real_node.ask("GET", f"/_template/{RUN}dsl")[f"{RUN}dsl"]["order"] == 3
    finally:
        real_node.ask("DELETE", f"/_template/{RUN}dsl")


# --- connections -------------------------------------------------------------------------------------------------


def configured(dsl, settings):
    """Clients are made when they are asked for, and stay if their settings do."""
    connections = dsl.connections
    dsl.do(connections.configure(default=settings, other={**settings, "timeout": 3}))
    made = [sorted(connections._conns)]
    client = dsl.do(connections.get_connection())
    made.append(sorted(connections._conns))
    version = dsl.do(client.info())["version"]["number"]
    count = dsl.do(dsl.Search(index=INDEX).using("other").count())
    dropped = dsl.do(connections.get_connection("other"))
    dsl.do(connections.configure(default=settings, other={**settings, "timeout": 4}))
    dsl.do(dropped.close())
    kept = [
        dsl.do(connections.get_connection(alias)) is old for alias, old in (("default", client), ("other", dropped))
    ]
    return made, version, count, kept


def added(dsl, settings):
    connections = dsl.connections
    client = dsl.do(connections.create_connection("made", **settings))
    dsl.do(connections.add_connection("added", client))
    found = [dsl.do(connections.get_connection(alias)) is client for alias in ("made", "added", client)]
    count = dsl.do(dsl.Search(using="added", index=INDEX).count()), dsl.do(dsl.Document.search(using=client).count())
    dsl.do(connections.remove_connection("added"))
    return found, count


def removed(dsl, settings):
    dsl.do(dsl.connections.remove_connection("nobody"))


def missing(dsl, settings):
    dsl.do(dsl.Search(index=INDEX).execute())


CONNECTIONS_RAISE = {"removed": "KeyError", "missing": "KeyError"}


@pytest.mark.row("`connections`")
@by_name([configured, added, removed, missing])
def test_connections(dsl, filled, call):
    theirs, _ = dsl.same(lambda settings: call(dsl, settings), make=dsl.nothing, before=filled)
    assert (theirs.error and theirs.error["type"]) == CONNECTIONS_RAISE.get(call.__name__)
