"""``/api-keys``: make, list, rename, revoke."""

from __future__ import annotations

import logging

from ... import grants, keys
from ...state import current
from ..authentication import actor, key
from ..errors import ApiError
from ..operations import operation
from ..schemas.api_keys import (
    ApiKey,
    CreateApiKey,
    CreatedApiKey,
    DeletedApiKey,
    UpdateApiKey,
    UpdatedApiKey,
)
from ..schemas.base import ListOf, Page

log = logging.getLogger(__name__)


@operation(
    "POST",
    "/api-keys",
    scope="manage",
    body=CreateApiKey,
    answers=CreatedApiKey,
    status=201,
    errors={403: "It could do more than the API key that asks for it."},
)
def create(body: CreateApiKey) -> CreatedApiKey:
    """Make a key.

    It may do nothing that the key which asks for it may not do itself, and does not outlive it.
    """
    try:
        wanted = grants.checked(**body.options())
        if lacks := key().lacks(wanted):
            message = f"This API key may make none that may do more than itself. {lacks}."
            raise ApiError(403, "restricted_api_key", message)
        key_id, token = keys.create(current().database, body.name, wanted, actor=actor())
    except ValueError as error:
        raise ApiError(422, "validation_error", str(error)) from error
    log.info("key=%s made by=%s", key_id, key().id)
    return CreatedApiKey(id=key_id, token=token)


@operation("GET", "/api-keys", scope="manage", query=Page, answers=ListOf[ApiKey])
def list_keys(query: Page) -> ListOf[ApiKey]:
    """List keys.

    Those that are not revoked, the newest first.
    """
    page = keys.page(current().database, query.limit, query.after, query.before)
    data = [ApiKey.of(row) for row in page.keys]
    return ListOf[ApiKey](has_more=page.has_more, data=data)


@operation(
    "PATCH", "/api-keys/<id:api_key_id>", scope="manage", body=UpdateApiKey, answers=UpdatedApiKey
)
def update(api_key_id: str, body: UpdateApiKey) -> UpdatedApiKey:
    """Rename a key.

    Not one that may do more than yours.
    """
    _check_within(api_key_id)
    try:
        keys.rename(current().database, api_key_id, body.name, actor=actor())
    except ValueError as error:
        raise ApiError(422, "validation_error", str(error)) from error
    return UpdatedApiKey(id=api_key_id)


@operation("DELETE", "/api-keys/<id:api_key_id>", scope="manage", answers=DeletedApiKey)
def remove(api_key_id: str) -> DeletedApiKey:
    """Revoke a key.

    It is good for nothing from the next request on. Not one that may do more than yours.
    """
    _check_within(api_key_id)
    keys.revoke(current().database, api_key_id, actor=actor())
    log.info("key=%s revoked by=%s", api_key_id, key().id)
    return DeletedApiKey(id=api_key_id)


def _check_within(api_key_id: str) -> None:
    """Raise ApiError if a key may do more than that of this request, and NotFound."""
    found = keys.grant_of(current().database, api_key_id)
    if api_key_id != key().id and (lacks := key().lacks(found)):
        message = f"This API key may change none that may do more than itself. {lacks}."
        raise ApiError(403, "restricted_api_key", message)
