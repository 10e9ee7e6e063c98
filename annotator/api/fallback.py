"""What answers where no endpoint is."""

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from annotator.api.errors import NOT_FOUND, refusal


@extend_schema(exclude=True)
@api_view(["GET", "POST", "PUT", "PATCH", "DELETE"])
@permission_classes([AllowAny])
def not_found(request: Request) -> Response:
    """Any other address below /api/v1/, in the API's error shape instead of the site's page."""
    slash = "" if request.path.endswith("/") else " Addresses of the API end with a slash."
    return refusal(404, "not_found", f"{NOT_FOUND}{slash}")
