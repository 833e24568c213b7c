"""The handlers, one module per noun.

Each takes a Call and the Api, and returns an ASGI application that replies.
"""
