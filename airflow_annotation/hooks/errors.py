"""Errors that have the same message for all tools."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import httpx

from airflow_annotation.exceptions import (
    AnnotationAuthenticationError,
    AnnotationConnectionError,
    AnnotationError,
    AnnotationProjectNotFoundError,
    AnnotationRequestError,
    MediaError,
)
from airflow_annotation.hooks.answers import undecodable
from airflow_annotation.labels.media_types import OTHER_FILE

_LONGEST_MESSAGE: Final = 1000


@contextmanager
def connection_error(tool: str, url: str) -> Iterator[None]:
    """Turn the failure of a request without a complete answer into an error with a plain message.

    :param tool: name of the tool
    :param url: address of the tool
    :raises AnnotationConnectionError: there was no answer, or only a part of one
    """
    try:
        yield
    except httpx.TimeoutException as error:
        slow = AnnotationConnectionError(
            f"{tool} at {url} did not answer in time ({type(error).__name__}). "
            "Is it overloaded? The connection's timeout can be raised."
        )
        slow.was_sent = not isinstance(error, httpx.ConnectTimeout)
        raise slow from error
    except httpx.ConnectError as error:
        if "CERTIFICATE" in str(error):
            hint = "Name the certificates to trust in the connection's ca_bundle if it has one, or in SSL_CERT_FILE."
        elif "SSL" in str(error):
            hint = "If it speaks plain http, write http:// in the connection's host."
        else:
            hint = "Is it running, and is the connection's host right?"
        unreached = AnnotationConnectionError(f"{tool} at {url} cannot be reached: {error}. {hint}")
        unreached.was_sent = False
        raise unreached from error
    except httpx.LocalProtocolError:
        # Its message quotes the header, which may hold a secret.
        raise AnnotationConnectionError(
            f"The request to {tool} at {url} cannot be sent: a header of the connection has illegal characters."
        ) from None
    except httpx.DecodingError as error:
        raise undecodable(error) from error
    except httpx.RequestError as error:
        raise AnnotationConnectionError(
            f"The connection to {tool} at {url} broke: {type(error).__name__}: {error}."
        ) from error


def checked_key(tool: str, url: str, api_key: str, hint: str = "") -> str:
    """Return the connection's API key, without space around it.

    :param tool: name of the tool
    :param url: address of the tool
    :param api_key: the connection's password field
    :param hint: what to enter there, for the message
    :raises AnnotationAuthenticationError: the field holds no usable key
    """
    key = api_key.strip()
    if not re.fullmatch(r"[!-~]+", key):
        raise AnnotationAuthenticationError(
            f"The connection to {tool} at {url} has no usable API key: its password field is empty or has characters "
            f"that no key has.{hint}"
        )
    return key


def key_refused(tool: str, url: str, reason: str) -> AnnotationAuthenticationError:
    """Return the error for a tool that refuses the connection's key."""
    return AnnotationAuthenticationError(
        f"{tool} at {url} refuses the connection's API key: {reason or 'no reason given'}. "
        "Put a current one into the connection's password field."
    )


def other_media_type(project_id: str | int, has: str, wanted: str) -> AnnotationError:
    """Return the error for a run whose project has another kind of media. No tool can change a project's kind."""
    return AnnotationError(
        f"Project {project_id} is for media of type {has}, not {wanted}, and cannot be changed. Give the run another "
        "run_key, or delete the project."
    )


def other_item_type(item: str, media_type: str, labeled: Sequence[str]) -> MediaError:
    """Return the error for an item whose kind of media its project does not label.

    :param item: name of the item
    :param media_type: the item's kind of media, as detected or given
    :param labeled: the kinds that the project labels
    """
    if media_type == OTHER_FILE:
        return MediaError(
            f"{item} is no file that people can label as it is. Convert it: a document to .pdf or .txt, a sheet to "
            f".csv, a picture to .png; or, if it is {labeled[0]}, say so in its row: {{'media': ..., 'media_type': "
            f"{labeled[0]!r}}}."
        )
    return MediaError(
        f"{item} is of type {media_type}, but the project labels {' and '.join(labeled)}. Give it to a project with "
        f"media_type={media_type!r}; or, if it is {labeled[0]}, say so in its row: {{'media': ..., 'media_type': "
        f"{labeled[0]!r}}}."
    )


@contextmanager
def unless_gone() -> Iterator[None]:
    """Ignore a tool's refusal (404) of a request about something that no longer exists."""
    try:
        yield
    except AnnotationRequestError as error:
        if error.status_code != httpx.codes.NOT_FOUND:
            raise


def project_not_found(tool: str, url: str, project_id: str) -> AnnotationProjectNotFoundError:
    """Return the error for a project id that a tool does not have."""
    return AnnotationProjectNotFoundError(
        f"{tool} at {url} has no project {project_id}, or does not show it to the connection's user."
    )


def shorten(text: str) -> str:
    """Return a text on one line, cut to the length of a message."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}…"
