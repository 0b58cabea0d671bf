"""The tables of the router: each module declares its own on `metadata`, and the database makes those that are missing."""

import sqlalchemy as sa

metadata = sa.MetaData()
