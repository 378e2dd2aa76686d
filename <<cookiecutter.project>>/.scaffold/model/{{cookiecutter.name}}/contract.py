"""The data contract: what every row must be, who answers for the data, and which columns are personal.

Roles: `id` names a row, `time` says when it happened, `target` is predicted, `group` must not be torn by a split,
`context` is kept for slices and fairness only; a column without a role is a feature.
"""

import datetime as dt

import pandera.polars as pa


#? if cookiecutter.task == "classification"
class Contract(pa.DataFrameModel):
    """Fine-needle biopsies of breast masses; one row is one biopsy (UCI, Wisconsin diagnostic)."""

    biopsy: int = pa.Field(ge=0, unique=True, description="Number of the biopsy", metadata={"role": "id"})
    examined_on: dt.date = pa.Field(description="Day of the examination", metadata={"role": "time"})
    mean_radius: float = pa.Field(ge=0, le=50, description="Mean distance from centre to perimeter of the nuclei, µm")
    mean_texture: float = pa.Field(ge=0, le=60, description="Standard deviation of grey values")
    mean_perimeter: float = pa.Field(ge=0, le=300, description="Mean perimeter of the nuclei, µm")
    mean_area: float = pa.Field(ge=0, le=5000, description="Mean area of the nuclei, µm²")
    mean_smoothness: float = pa.Field(ge=0, le=1, description="Local variation in radius lengths")
    mean_compactness: float = pa.Field(ge=0, le=2, description="perimeter² / area - 1")
    mean_concavity: float = pa.Field(ge=0, le=2, description="Severity of concave portions of the contour")
    mean_concave_points: float = pa.Field(ge=0, le=1, description="Share of concave portions of the contour")
    mean_symmetry: float = pa.Field(ge=0, le=1, description="Symmetry of the nuclei")
    mean_fractal_dimension: float = pa.Field(ge=0, le=1, description="Coastline approximation - 1")
    malignant: int = pa.Field(isin=[0, 1], description="1 when the mass is malignant", metadata={"role": "target"})

    class Config:
        strict = True
        metadata = {"owner": "{{ (cookiecutter.owner | tojson)[1:-1] }}", "freshness_days": 30}
#? else
class Contract(pa.DataFrameModel):
    """Diabetes patients at baseline and their disease progression a year later (Efron et al., 2004)."""

    patient: int = pa.Field(ge=0, unique=True, description="Number of the patient", metadata={"role": "id"})
    seen_on: dt.date = pa.Field(description="Day of the baseline visit", metadata={"role": "time"})
    age: float = pa.Field(ge=18, le=110, description="Age, years", metadata={"personal": True})
    sex: str = pa.Field(isin=["1", "2"], description="Sex, as coded by the study", metadata={"personal": True})
    bmi: float = pa.Field(ge=10, le=80, description="Body mass index, kg/m²")
    blood_pressure: float = pa.Field(ge=30, le=200, description="Average blood pressure, mmHg")
    total_cholesterol: float = pa.Field(ge=0, le=500, description="Total serum cholesterol, mg/dl")
    ldl: float = pa.Field(ge=0, le=400, description="Low-density lipoproteins, mg/dl")
    hdl: float = pa.Field(ge=0, le=200, description="High-density lipoproteins, mg/dl")
    cholesterol_ratio: float = pa.Field(ge=0, le=20, description="Total cholesterol / HDL")
    log_triglycerides: float = pa.Field(ge=0, le=10, description="Logarithm of the serum triglycerides level")
    glucose: float = pa.Field(ge=20, le=400, description="Blood sugar level, mg/dl")
    progression: float = pa.Field(ge=0, le=500, description="Progression after a year", metadata={"role": "target"})

    class Config:
        strict = True
        metadata = {"owner": "{{ (cookiecutter.owner | tojson)[1:-1] }}", "freshness_days": 30}
#? endif
