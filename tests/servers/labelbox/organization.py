"""The organization: its users, roles, resource tags and IAM integrations."""

from __future__ import annotations

from typing import Any

from .entities import Entity, IamIntegration, Json, Project, ResourceTag, Role, Task, User
from .errors import ServiceError
from .schema import Context, page, resolver
from .state import alive, find


@resolver("Query", "organization")
def organization(_: None, context: Context) -> Entity:
    return context.state.organization


@resolver("Organization", "name")
def organization_name(_: Entity, _context: Context) -> str:
    return "Stand-in organization"


@resolver("Organization", "users")
def organization_users(_: Entity, context: Context, **paging: Any) -> list[User]:
    return page(alive(context.state.users.values()), **paging)


@resolver("Organization", "projects")
def organization_projects(_: Entity, context: Context, **paging: Any) -> list[Project]:
    return page(alive(context.state.projects.values()), **paging)


@resolver("Organization", "tasks")
def organization_tasks(_: Entity, context: Context, **paging: Any) -> list[Task]:
    return page(context.state.tasks.values(), **paging)


@resolver("Organization", "webhooks")
def organization_webhooks(_: Entity, _context: Context, **_paging: Any) -> list[Entity]:
    return []


@resolver("Organization", "resourceTag")
def organization_tags(_: Entity, context: Context) -> list[ResourceTag]:
    return alive(context.state.resource_tags.values())


@resolver("Query", "user")
def user(_: None, context: Context, where: Json | None = None) -> User:
    return find("User", context.state.users, where["id"]) if where else context.user


@resolver("Query", "users")
def users(_: None, context: Context, **paging: Any) -> list[User]:
    return page(alive(context.state.users.values()), **paging)


@resolver("Query", "roles")
def roles(_: None, context: Context) -> list[Role]:
    return context.state.roles


@resolver("User", "createdTasks")
def created_tasks(source: User, context: Context, **paging: Any) -> list[Task]:
    return page((task for task in context.state.tasks.values() if task.created_by is source), **paging)


@resolver("User", "projects")
def user_projects(_: User, context: Context, **paging: Any) -> list[Project]:
    return page(alive(context.state.projects.values()), **paging)


@resolver("Mutation", "createResourceTag")
def create_resource_tag(_: None, context: Context, input: Json) -> ResourceTag:  # noqa: A002 GraphQL's name
    tag = ResourceTag(text=input["text"], color=input["color"].lstrip("#"))
    context.state.resource_tags[tag.id] = tag
    return tag


@resolver("Mutation", "deleteResourceTag")
def delete_resource_tag(_: None, context: Context, input: Json) -> ResourceTag:  # noqa: A002 GraphQL's name
    tag = find("ResourceTag", context.state.resource_tags, input["id"])
    tag.deleted = True
    return tag


@resolver("Query", "iamIntegrations")
def iam_integrations(_: None, context: Context) -> list[IamIntegration]:
    return alive(context.state.iam_integrations.values())


@resolver("IamIntegration", "settings")
def iam_settings(source: IamIntegration, _context: Context) -> Json:
    kinds = {"AWS": "AwsIamIntegrationSettings", "GCP": "GcpIamIntegrationSettings"}
    return {"__typename": kinds.get(source.provider, "AzureIamIntegrationSettings"), **source.settings}


@resolver("Mutation", "uploadFile")
def upload_file(_: None, context: Context, file: Any, contentLength: int, sign: bool = False) -> Json:  # noqa: N803 GraphQL's names
    if len(file.content) != contentLength:
        raise ServiceError(f"Expected {contentLength} bytes, got {len(file.content)}", status=400)
    url = context.state.store(file.content, file.content_type, file.name)
    return {"url": url, "filename": file.name}


def _organization_of(_: Entity, context: Context) -> Entity:
    return context.state.organization


for _type_name in ("User", "Project", "Dataset", "DataRow", "Review", "Task"):
    resolver(_type_name, "organization")(_organization_of)
