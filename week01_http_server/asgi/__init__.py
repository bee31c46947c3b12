"""ASGI 3 over the server's exchanges: HTTP, WebSocket and lifespan.

Source: the ASGI specification 3.0 with its HTTP and WebSocket message format 2.5, its lifespan
protocol 2.0, and the extensions `http.response.pathsend`, `http.response.trailers` and
`websocket.http.response`.
"""
