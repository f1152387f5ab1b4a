"""Builds the documentation site.

::

    python -m docs.building            the site, into build/site/html
    python -m docs.building zensical   the same by Zensical, into the same folder

A page is a Markdown file of ``docs/``, or one of those that ``files.py`` names. Each
reads well where it stands. For the site they are put together in ``build/site/pages``:
links to files of the project become links to pages, and what a comment asks for is
inserted::

    files.py       which files are pages, and what stands where
    fences.py      which lines of a page are code
    links.py       links from where a page stands to where it is on the site
    inserts.py     what a comment in a page inserts
    docstrings.py  the docstring of a module, as Markdown
    examples.py    the same for the docstrings of the reference
    settings.py    what can be set, from ``shmstream.settings``
    routes.py      the routes, from the OpenAPI description
    sources.py     pages that show a file of the project
    assets.py      what the finished pages would load from elsewhere
    __main__.py    puts the pages together, and has the site built

The generator only gets Markdown, so any that reads ``mkdocs.yml`` can build the site.
"""
