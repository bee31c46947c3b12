"""Files of one directory over HTTP: conditional, in ranges, precompressed, and nothing else.

Pure: `paths` (which file a path names), `conditions` (RFC 9110, section 13), `ranges` (section
14), `codings` (section 12.5.3), `dates`, `media_types`, `answers` (all of them together).
Shells: `tree` (opens below one directory), `memory` (small files kept), `app` (the application).
"""
