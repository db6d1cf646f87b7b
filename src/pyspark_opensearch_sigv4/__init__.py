"""Where Spark finds the format `opensearch-sigv4`: it looks for a `DefaultSource` in packages named `pyspark_...`."""

from opensearch_sigv4.integrations.spark import OpenSearchDataSource as DefaultSource

__all__ = ["DefaultSource"]
