"""From a collection's listing to published Parquet: decisions are plain functions, apart from the file work."""
