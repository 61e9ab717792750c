"""Calls of names in machine-learning packages that run code, build a library, or read a second stage."""

from .case import P4, Case, apply, call, u

NAMES = """torch.utils.collect_env:run torch.utils._config_module:ConfigModule.load_config torch._dynamo.guards:GuardBuilder.get
torch.fx.experimental.symbolic_shapes:ShapeEnv.evaluate_guards_expression torch.jit.unsupported_tensor_ops:execWrapper
torch._inductor.codecache:compile_file torch._inductor.runtime.compile_tasks:_reload_python_module torch.utils.bottleneck.__main__:run_cprofile
torch.utils.bottleneck.__main__:run_autograd_prof torch._ops:_Ops.load_library torch:load torch.hub:load torch.hub:download_url_to_file
torch.jit:load torch.package:PackageImporter torch.utils.cpp_extension:load_inline torch.utils.data.datapipes.utils.decoder:basichandlers
torch.distributed.rpc:rpc_sync torch.utils._import_utils:dill_available numpy.f2py.crackfortran:getlincoef numpy.f2py.crackfortran:myeval
numpy.f2py.crackfortran:_eval_length numpy.f2py.diagnose:run_command numpy.testing._private.utils:runstring numpy.testing:rundocs
numpy.distutils.exec_command:exec_command numpy:load numpy:fromfile numpy:memmap numpy:savetxt numpy.ctypeslib:load_library
pandas:eval pandas:read_pickle pandas:read_csv pandas.core.computation.eval:eval pandas.io.clipboard:init_osx_pbcopy_clipboard
joblib:load joblib.numpy_pickle:load joblib.externals.loky.backend.spawn:prepare scipy.io:loadmat scipy._lib._uarray:set_state
sklearn.utils._testing:check_skip_network sklearn.datasets:fetch_openml sklearn.datasets._base:load_files skops.io:load xgboost.core:_load_lib
lightgbm.libpath:find_lib_path mlflow.projects.backend.local:_run_entry_point mlflow.pyfunc:load_model keras.saving:load_model
keras.utils:get_file tensorflow:load_library tensorflow.keras.models:load_model transformers:AutoModel.from_pretrained datasets:load_dataset
huggingface_hub:hf_hub_download onnxruntime:InferenceSession ray.cloudpickle:loads cloudpickle:loads dill:load dill._dill:_create_function
cloudpickle.cloudpickle:subimport nltk:download nltk.app:chartparser asteval:Interpreter numexpr:evaluate sympy:sympify gradio:load
unknown_package_q.core:Model""".split()


def cases() -> list[Case]:
    made = []
    for text in NAMES:
        module, _, name = text.partition(":")
        made.append(Case("gadget-ml", text, text.replace(":", ".") + ".pkl", call(module, name, "true")))
    second = {
        "joblib": call("joblib", "load", "/nonexistent/second.joblib"),
        "numpy": call("numpy", "load", "second.npy", b"N", b"\x88"),
        "torch": P4 + apply("torch", "load", "second.pt") + u("a") + b"b.",
        "pandas": call("pandas", "read_pickle", "http://localhost:9/none"),
    }
    return made + [Case("gadget-ml", f"second-stage-{n}", f"second-stage-{n}.pkl", d) for n, d in second.items()]
