"""Users with roles, their passwords and sessions, clients' tokens, and electronic signatures, in the store.

A store without a user is as before: whoever has the service's token may do everything. The first user that
``georgia users add`` writes changes that for good. See docs/people.md.
"""
