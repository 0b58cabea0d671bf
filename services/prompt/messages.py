"""What the prompt room found, as it goes over the wire."""

from collections.abc import Sequence

from scrollintel.visual.v1 import prompt_pb2
from services.prompt.analysis import Analysis
from services.prompt.detection import Match
from services.prompt.templates import Template
from services.prompt.variables import Choice, Number, Text, Variable


def to_analysis(found: Analysis, matches: Sequence[Match]) -> prompt_pb2.PromptAnalysis:
    """Return an analysis."""
    return prompt_pb2.PromptAnalysis(
        subject=found.subject,
        styles=[prompt_pb2.StyleMatch(style=match.style, confidence=match.confidence) for match in matches],
        missing_aspects=found.missing,
        words=found.words,
        aspects=[prompt_pb2.PromptAspect(name=name, phrases=said) for name, said in found.said.items()],
        ambiguities=[
            prompt_pb2.Ambiguity(
                kind=prompt_pb2.AmbiguityKind.ValueType(one.kind), phrase=one.phrase, readings=one.readings
            )
            for one in found.ambiguities
        ],
        language=found.language,
    )


def to_template(template: Template) -> prompt_pb2.PromptTemplate:
    """Return a template."""
    return prompt_pb2.PromptTemplate(
        id=template.id,
        category=template.category,
        text=template.text,
        variables=[variable.name for variable in template.variables],
        title=template.title,
        style=template.style,
        holes=map(_to_hole, template.variables),
        example=template.example,
    )


def _to_hole(variable: Variable) -> prompt_pb2.TemplateVariable:
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
