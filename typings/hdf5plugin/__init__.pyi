ZSTD_ID: int
