"""Recipe `table`: rows of CSV, TSV, XLSX, JSON and Parquet become typed columns, with units, keys and what is odd about them."""
