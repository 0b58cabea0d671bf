"""Templates on their way in and out."""

import re
from collections.abc import Iterable, Iterator

from scrollintel.visual.v1 import assets_pb2, prompt_pb2
from services.runtime.templates.template import Template, TemplateError
from services.runtime.templates.variables import Choice, Number, Text, Variable, checked

OWN = "own-"
"""How the ids of a tenant's own templates begin, and of no others: an id alone tells where a template lies."""

_WHOLE = re.compile(r"-?\d{1,9}", re.ASCII)


def read(message: assets_pb2.StoredTemplate) -> Template:
    """Return a stored template; raises TemplateError."""
    return Template(
        message.id,
        message.category,
        message.name,
        message.style,
        message.text,
        tuple(_variables(message.holes)),
    )


def write(template: Template) -> prompt_pb2.PromptTemplate:
    """Return a template as it is offered."""
    return prompt_pb2.PromptTemplate(
        id=template.id,
        category=template.category,
        text=template.text,
        variables=[variable.name for variable in template.variables],
        title=template.title,
        style=template.style,
        holes=map(_hole, template.variables),
        example=template.example,
        own=template.id.startswith(OWN),
    )


def _variables(holes: Iterable[prompt_pb2.TemplateVariable]) -> Iterator[Variable]:
    for index, hole in enumerate(holes):
        try:
            yield checked(_variable(hole))
        except ValueError as error:
            raise TemplateError(f"holes[{index}]", str(error)) from error


def _variable(hole: prompt_pb2.TemplateVariable) -> Variable:
    """Return a variable, its rule unchecked; raises ValueError where there is none, or a default that it cannot have."""
    match hole.WhichOneof("rule"):
        case "text":
            rule = hole.text
            return Text(hole.name, hole.about, rule.max_length, rule.example, hole.default_value)
        case "choice":
            choice = Choice(hole.name, hole.about, tuple(hole.choice.options))
            if hole.default_value not in ("", *choice.options[:1]):
                raise ValueError(f"variable {hole.name}: the default of a choice is its first option")
            return choice
        case "number":
            if not _WHOLE.fullmatch(hole.default_value):
                raise ValueError(f"variable {hole.name}: a number needs a whole one as its default")
            number = hole.number
            return Number(hole.name, hole.about, number.lowest, number.highest, int(hole.default_value))
        case _:
            raise ValueError(f"variable {hole.name}: say what it takes: text, choice or number")


def _hole(variable: Variable) -> prompt_pb2.TemplateVariable:
    hole = prompt_pb2.TemplateVariable(
        name=variable.name, about=variable.about, default_value=variable.default
    )
    match variable:
        case Text():
            hole.text.CopyFrom(prompt_pb2.TextRule(max_length=variable.most, example=variable.example))
        case Choice():
            hole.choice.CopyFrom(prompt_pb2.ChoiceRule(options=variable.options))
        case Number():
            hole.number.CopyFrom(prompt_pb2.NumberRule(lowest=variable.lowest, highest=variable.highest))
    return hole
